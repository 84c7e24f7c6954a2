/** What went wrong, in words for the person at the phone. */
export interface Failure {
  /** Stable name for tests and style. */
  code: string;
  /** A few words. */
  title: string;
  /** One or two sentences: what it means and what to do. */
  detail: string;
  /** SIP status code, 0 when none was involved. */
  status: number;
  /** Whether this is an ordinary end (busy, declined) rather than a fault. */
  mild?: boolean;
}

/** A refused or timed-out request, as far as known. */
export interface Refusal {
  /** SIP status code; 0 when there was no response. */
  status: number;
  /** Reason phrase of the response. */
  phrase?: string;
  /** JsSIP's cause text. */
  cause?: string;
  /** Seconds, from Retry-After (RFC 3261 §20.33). */
  retryAfter?: number | undefined;
  /** Text of a Warning header (RFC 3261 §20.43). */
  warning?: string | undefined;
  /** Whom we were calling or writing to, in friendly form. */
  peer?: string;
}

type Row = [code: string, title: string, detail: (r: Refusal, who: string) => string, mild?: boolean];

const CALL_ROWS: Record<number, Row> = {
  400: [
    'bad-request',
    'The call was not understood',
    (r) => `The gateway found fault with the request${quote(r.phrase)}.`,
  ],
  401: [
    'auth',
    'Wrong user name or password',
    () => 'The server did not accept the sign-in details. Sign out and in again.',
  ],
  403: ['forbidden', 'Call not allowed', (_r, who) => `This account may not call ${who}.`],
  404: [
    'not-found',
    'Unknown user',
    (_r, who) => `Nobody is known as ${who}. Check the spelling and the domain.`,
  ],
  405: ['not-supported', 'Not supported', (_r, who) => `${who} does not support this.`],
  407: [
    'auth',
    'Wrong user name or password',
    () => 'The server did not accept the sign-in details. Sign out and in again.',
  ],
  408: [
    'timeout',
    'No reply',
    (_r, who) => `${who} did not respond in time. They may be offline, or the network between is down.`,
  ],
  410: ['gone', 'No longer there', (_r, who) => `${who} has no current address.`],
  413: ['too-large', 'Too long', () => 'The text is longer than the server takes.'],
  415: ['not-supported', 'Format not supported', (_r, who) => `${who} cannot read this kind of content.`],
  430: [
    'flow-failed',
    'Not reachable',
    (_r, who) => `The connection to ${who} broke. Try again in a moment.`,
  ],
  480: [
    'unavailable',
    'Not reachable right now',
    (_r, who) => `${who} is not signed in or does not answer.`,
    true,
  ],
  481: ['no-dialog', 'The call is gone', () => 'The other side no longer knows this call.'],
  484: ['incomplete', 'Number incomplete', (_r, who) => `${who} is not a complete address.`],
  486: ['busy', 'Busy', (_r, who) => `${who} is in another call.`, true],
  487: ['cancelled', 'Call cancelled', () => 'The call was ended before it was answered.', true],
  488: [
    'no-media',
    'No common audio format',
    (r, who) => `${who} cannot take this kind of call${quote(r.warning)}.`,
  ],
  491: ['pending', 'Both sides changed the call at once', () => 'Try again.'],
  500: ['server', 'Server error', (r) => `The gateway or the network behind it failed${quote(r.phrase)}.`],
  502: [
    'bad-gateway',
    'Network error',
    () => 'The gateway got an unusable answer from the network behind it.',
  ],
  503: [
    'no-capacity',
    'No capacity',
    (r) => `The gateway cannot carry another call at the moment. ${again(r.retryAfter)}`,
  ],
  504: ['server-timeout', 'Network timeout', () => 'The network behind the gateway did not respond in time.'],
  600: ['busy', 'Busy', (_r, who) => `${who} is busy everywhere.`, true],
  603: ['declined', 'Call declined', (_r, who) => `${who} does not want to take the call now.`, true],
  604: ['not-found', 'Unknown user', (_r, who) => `${who} does not exist anywhere.`],
  606: [
    'no-media',
    'No common audio format',
    (r, who) => `${who} cannot take this kind of call${quote(r.warning)}.`,
  ],
};

/** JsSIP causes that come without a SIP response. */
const CAUSE_ROWS: Record<string, Row> = {
  'Connection Error': ['connection', 'Connection lost', () => 'The connection to the gateway broke.'],
  'Request Timeout': ['timeout', 'No reply', () => 'The gateway did not respond in time.'],
  'RTP Timeout': [
    'no-path',
    'No audio path',
    () => 'The audio connection could not be made or broke. A firewall may block UDP.',
  ],
  'WebRTC Error': [
    'webrtc',
    'Audio could not be set up',
    () => 'The browser could not use what the other side offered.',
  ],
  'Bad Media Description': [
    'webrtc',
    'Audio could not be set up',
    () => 'The browser could not use what the other side offered.',
  ],
  'No Answer': ['no-answer', 'Not answered', () => 'The call was not answered in time.', true],
  Expires: ['no-answer', 'Not answered', () => 'The call was not answered in time.', true],
  Canceled: ['cancelled', 'Call cancelled', () => 'The call was ended before it was answered.', true],
  'No ACK': ['no-ack', 'Call not confirmed', () => 'The other side never confirmed the call.'],
  'Dialog Error': ['no-dialog', 'The call is gone', () => 'The other side no longer knows this call.'],
};

/** Explains why a call or message did not go through. */
export function explainCall(r: Refusal): Failure {
  const who = r.peer || 'The other side';
  const row =
    CALL_ROWS[r.status] ?? (r.status === 0 ? CAUSE_ROWS[r.cause ?? ''] : undefined) ?? classRow(r.status);
  const [code, title, detail, mild] = row;
  return { code, title, detail: detail(r, who), status: r.status, ...(mild ? { mild } : {}) };
}

/** Explains why signing in failed. */
export function explainRegistration(r: Refusal): Failure {
  if (r.status === 401 || r.status === 407 || r.cause === 'Authentication Error') {
    return fail(
      'auth',
      'Wrong user name or password',
      'The registrar did not accept these sign-in details.',
      r.status,
    );
  }
  if (r.status === 403) {
    return fail(
      'auth',
      'Sign-in refused',
      'The registrar refused this account. Check the user name and password.',
      403,
    );
  }
  if (r.status === 404) {
    return fail('unknown-user', 'Unknown account', 'The registrar does not know this user or domain.', 404);
  }
  if (r.status === 503) {
    return fail(
      'no-capacity',
      'Service unavailable',
      `The registrar is not available. ${again(r.retryAfter)}`,
      503,
    );
  }
  if (r.status === 0 || r.status === 408 || r.status === 504) {
    return fail(
      'timeout',
      'Registrar does not respond',
      'The gateway is up, but the registrar behind it does not respond.',
      r.status,
    );
  }
  return fail('refused', 'Sign-in failed', `The registrar answered ${r.status}${quote(r.phrase)}.`, r.status);
}

/** Explains why no microphone could be had. `name` is the DOMException name of getUserMedia. */
export function explainMicrophone(name: string, secure: boolean): Failure {
  if (!secure) {
    return fail(
      'insecure',
      'Microphone needs a secure page',
      'Browsers give the microphone to https:// pages and to localhost only. Open the phone over https.',
    );
  }
  switch (name) {
    case 'NotAllowedError':
    case 'SecurityError':
      return fail(
        'mic-denied',
        'Microphone not allowed',
        'Allow the microphone for this page (the icon beside the address) and try again.',
      );
    case 'NotFoundError':
    case 'OverconstrainedError':
      return fail('mic-missing', 'No microphone found', 'Plug in or switch on a microphone and try again.');
    case 'NotReadableError':
    case 'AbortError':
      return fail(
        'mic-busy',
        'Microphone cannot be used',
        'Another program may be using it, or the system refuses it.',
      );
    default:
      return fail('mic-error', 'Microphone cannot be used', `The browser said: ${name}.`);
  }
}

/** What is known when the WebSocket did not open or closed. */
export interface SocketTrouble {
  url: string;
  /** The page's own protocol, "https:" or "http:". */
  pageProtocol: string;
  /** Whether it had been open. */
  wasOpen: boolean;
  /** WebSocket close code (RFC 6455 §7.4.1); 1006 when the browser hides the cause. */
  closeCode: number;
  /** Whether plain HTTP(S) to the same host works: undefined when not tried. */
  hostReachable?: boolean | undefined;
}

/** Explains why there is no connection to the gateway. */
export function explainSocket(s: SocketTrouble): Failure {
  const host = hostOf(s.url);
  if (s.pageProtocol === 'https:' && s.url.startsWith('ws:')) {
    return fail(
      'mixed',
      'Insecure address',
      'This page came over https, so the WebSocket address must begin with wss://.',
    );
  }
  if (s.wasOpen) {
    if (s.closeCode === 1001 || s.closeCode === 1012) {
      return fail('restart', 'The gateway is restarting', 'The phone reconnects by itself.');
    }
    if (s.closeCode === 1008) {
      return fail(
        'policy',
        'The gateway closed the connection',
        'It found fault with something this phone sent.',
      );
    }
    return fail('lost', 'Connection lost', 'The phone reconnects by itself. Calls in progress may go on.');
  }
  if (s.hostReachable === true) {
    return fail(
      'ws-refused',
      'The gateway refuses the connection',
      `${host} is up but does not open a SIP WebSocket here. Check the path, and that this page's origin is allowed.`,
    );
  }
  if (s.url.startsWith('wss:')) {
    return fail(
      'certificate',
      'Cannot connect securely',
      `Either ${host} is not reachable or its certificate is not trusted. Open https://${host}/ in a new tab to see which.`,
    );
  }
  return fail(
    'unreachable',
    'Cannot reach the gateway',
    `Nothing answers at ${host}. Check the WebSocket address and the network.`,
  );
}

/** Seconds of a Retry-After value: "120 (maintenance);duration=60" gives 120. */
export function retryAfterSeconds(value: string | undefined | null): number | undefined {
  const m = /^\s*(\d{1,9})/.exec(value ?? '');
  return m ? Number(m[1]) : undefined;
}

/** The quoted text of a Warning header: `304 isthmus "no audio"` gives `no audio`. */
export function warningText(value: string | undefined | null): string | undefined {
  return /"((?:[^"\\]|\\.)*)"/.exec(value ?? '')?.[1]?.replace(/\\(.)/g, '$1');
}

function classRow(status: number): Row {
  if (status >= 300 && status < 400)
    return ['redirected', 'Moved', (_r, who) => `${who} asks to be called elsewhere.`];
  if (status >= 500 && status < 600)
    return ['server', 'Server error', (r) => `The network answered ${r.status}${quote(r.phrase)}.`];
  if (status >= 600)
    return ['declined', 'Refused', (r) => `The other side answered ${r.status}${quote(r.phrase)}.`];
  if (status >= 400)
    return ['refused', 'Not possible', (r) => `The other side answered ${r.status}${quote(r.phrase)}.`];
  return ['failed', 'Call failed', (r) => `The call could not be made${quote(r.cause)}.`];
}

function fail(code: string, title: string, detail: string, status = 0): Failure {
  return { code, title, detail, status };
}

function quote(s: string | undefined): string {
  return s ? ` (“${s}”)` : '';
}

function again(seconds: number | undefined): string {
  if (seconds === undefined) return 'Try again later.';
  if (seconds < 90) return `Try again in ${seconds} second${seconds === 1 ? '' : 's'}.`;
  return `Try again in ${Math.ceil(seconds / 60)} minutes.`;
}

function hostOf(url: string): string {
  return /^wss?:\/\/([^/]+)/i.exec(url)?.[1] ?? url;
}

/** A SIP message as JsSIP hands it over with a failure; every part may be missing. */
interface MessageLike {
  status_code?: number;
  reason_phrase?: string;
  getHeader?: (name: string) => string | undefined;
}

/** Gathers what a failed request's response says. */
export function refusalOf(message: unknown, cause: string | undefined, peer?: string): Refusal {
  const m = (message ?? {}) as MessageLike;
  const header = (name: string) => m.getHeader?.(name);
  return {
    status: typeof m.status_code === 'number' ? m.status_code : 0,
    ...(m.reason_phrase ? { phrase: m.reason_phrase } : {}),
    ...(cause ? { cause } : {}),
    ...(peer ? { peer } : {}),
    retryAfter: retryAfterSeconds(header('Retry-After')),
    warning: warningText(header('Warning')),
  };
}

/**
 * Explains a BYE or CANCEL that carries a Reason header (RFC 3326 §2). Returns
 * undefined for an ordinary end: no Reason, Q.850 cause 16, or SIP cause 200.
 */
export function explainRelease(reason: string | undefined | null): Failure | undefined {
  const m = /^\s*([\w.]+)\s*;(.*)$/.exec(reason ?? '');
  if (!m) return undefined;
  const protocol = (m[1] ?? '').toUpperCase();
  const cause = Number(/\bcause\s*=\s*"?(\d+)/i.exec(m[2] ?? '')?.[1] ?? 0);
  const text = /\btext\s*=\s*"((?:[^"\\]|\\.)*)"/i.exec(m[2] ?? '')?.[1]?.replace(/\\(.)/g, '$1');
  if (protocol === 'SIP' && cause === 200) {
    return {
      ...fail('elsewhere', 'Answered elsewhere', 'Another of your devices took the call.', 200),
      mild: true,
    };
  }
  if (cause === 0 || (protocol === 'Q.850' && cause === 16)) return undefined;
  return fail(
    'released',
    'The network ended the call',
    text ? `It said: “${text}”.` : `Cause ${cause}.`,
    protocol === 'SIP' ? cause : 0,
  );
}
