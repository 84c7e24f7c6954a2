/**
 * What the gateway tells the phone: `GET phone-config.json`. The document is
 * optional and every field in it too; a field of the wrong type is ignored, so
 * that a half-written configuration still gives a usable phone.
 */
export interface PhoneConfig {
  /** SIP domain of the users, e.g. "isthmus.example". */
  domain: string;
  /** Path of the SIP WebSocket on the host that served the page. */
  wsPath: string;
  /** A sentence for the sign-in form: which registrar this gateway serves. */
  registrarHint: string;
  /** Accounts of a demo core, offered as buttons. Empty on a real system. */
  demoUsers: DemoUser[];
  /** Things worth calling, offered as buttons. */
  demoTargets: DemoTarget[];
  /** STUN/TURN servers. The gateway is ICE-lite and public, so normally none. */
  iceServers: RTCIceServer[];
}

export interface DemoUser {
  user: string;
  password: string;
}

export interface DemoTarget {
  uri: string;
  label: string;
}

export interface LocationLike {
  protocol: string;
  host: string;
  hostname: string;
}

/** The WebSocket URL for a page at `loc`: ws for http, wss for https. */
export function defaultWsUrl(loc: LocationLike, wsPath: string): string {
  const path = wsPath.startsWith('/') ? wsPath : `/${wsPath}`;
  return `${loc.protocol === 'https:' ? 'wss' : 'ws'}://${loc.host}${path}`;
}

/** The configuration when the gateway says nothing. */
export function defaultConfig(loc: LocationLike): PhoneConfig {
  return {
    domain: loc.hostname,
    wsPath: '/sip',
    registrarHint: '',
    demoUsers: [],
    demoTargets: [],
    iceServers: [],
  };
}

/** Reads a configuration document; unknown or mistyped fields fall back to `defaults`. */
export function parseConfig(doc: unknown, defaults: PhoneConfig): PhoneConfig {
  if (!isRecord(doc)) return defaults;
  return {
    domain: text(doc.domain) ?? defaults.domain,
    wsPath: text(doc.wsPath) ?? defaults.wsPath,
    registrarHint: text(doc.registrarHint) ?? defaults.registrarHint,
    demoUsers: list(doc.demoUsers).flatMap((u) => {
      const user = isRecord(u) ? text(u.user) : undefined;
      const password = isRecord(u) ? text(u.password) : undefined;
      return user && password ? [{ user, password }] : [];
    }),
    demoTargets: list(doc.demoTargets).flatMap((t) => {
      const uri = isRecord(t) ? text(t.uri) : undefined;
      const label = isRecord(t) ? text(t.label) : undefined;
      return uri ? [{ uri, label: label ?? uri }] : [];
    }),
    iceServers: list(doc.iceServers).filter(isIceServer),
  };
}

/** Fetches the configuration; any failure (absent, slow, not JSON) means the defaults. */
export async function loadConfig(loc: LocationLike, fetcher = fetch, timeoutMs = 3000): Promise<PhoneConfig> {
  const defaults = defaultConfig(loc);
  try {
    const res = await fetcher('phone-config.json', {
      cache: 'no-store',
      signal: AbortSignal.timeout(timeoutMs),
    });
    return res.ok ? parseConfig(await res.json(), defaults) : defaults;
  } catch {
    return defaults;
  }
}

function isRecord(v: unknown): v is Record<string, unknown> {
  return typeof v === 'object' && v !== null && !Array.isArray(v);
}

function text(v: unknown): string | undefined {
  return typeof v === 'string' && v !== '' ? v : undefined;
}

function list(v: unknown): unknown[] {
  return Array.isArray(v) ? v : [];
}

function isIceServer(v: unknown): v is RTCIceServer {
  return isRecord(v) && (typeof v.urls === 'string' || Array.isArray(v.urls));
}
