/** One SIP message as the ladder shows it. */
export interface LadderEntry {
  /** Running number within the page. */
  n: number;
  /** `performance.now()` in ms when it was written or read. */
  t: number;
  direction: 'out' | 'in';
  /** Request line without the version, or status line without it. */
  title: string;
  /** Method of the request, or of the CSeq of the response; "" if unreadable. */
  method: string;
  /** Status code of a response, 0 for a request. */
  status: number;
  callId: string;
  cseq: string;
  /** Whether the message carries SDP. */
  sdp: boolean;
  /** The message as sent, credentials blanked. */
  text: string;
}

export interface SipSummary {
  title: string;
  method: string;
  status: number;
  callId: string;
  cseq: string;
  sdp: boolean;
  uri: string;
}

/** Long and compact names (RFC 3261 §7.3.3) of the headers read here. */
const COMPACT: Record<string, string> = { i: 'call-id', c: 'content-type' };

/** Reads what the ladder needs from a message. Never throws; unreadable parts are empty. */
export function parseSip(message: string): SipSummary {
  const headEnd = message.search(/\r?\n\r?\n/);
  const head = headEnd < 0 ? message : message.slice(0, headEnd);
  const lines = head.split(/\r?\n/);
  const first = lines[0] ?? '';
  const headers = new Map<string, string>();
  for (const line of lines.slice(1)) {
    const m = /^([A-Za-z-]+)\s*:\s*(.*)$/.exec(line);
    if (!m) continue;
    const name = (m[1] ?? '').toLowerCase();
    const full = COMPACT[name] ?? name;
    if (!headers.has(full)) headers.set(full, (m[2] ?? '').trim());
  }
  const cseq = headers.get('cseq') ?? '';
  const base = {
    callId: headers.get('call-id') ?? '',
    cseq,
    sdp: /^application\/sdp\b/i.test(headers.get('content-type') ?? ''),
  };
  const status = /^SIP\/2\.0 (\d{3})\s?(.*)$/.exec(first);
  if (status) {
    const method = /^\d+\s+(\S+)/.exec(cseq)?.[1] ?? '';
    return {
      ...base,
      title: `${status[1]} ${status[2] ?? ''}`.trim(),
      method,
      status: Number(status[1]),
      uri: '',
    };
  }
  const request = /^([A-Z]+) (\S+) SIP\/2\.0$/.exec(first);
  if (request) {
    const [, method = '', uri = ''] = request;
    return { ...base, title: `${method} ${uri}`, method, status: 0, uri };
  }
  return { ...base, title: first.slice(0, 120), method: '', status: 0, uri: '' };
}

/** Blanks what must not be shown or copied: the digest response, bearer tokens and TURN passwords. */
export function redact(message: string): string {
  return message
    .replace(/^(isthmus-ice-servers\s*:.*\bcredential=)"[^"]*"/gim, '$1"…"')
    .replace(
      /^((?:proxy-)?authorization\s*:\s*)(.*)$/gim,
      (_all, name: string, value: string) =>
        name +
        (/^digest\b/i.test(value)
          ? value.replace(/\b(response|cnonce)="?[^",]*"?/gi, '$1="…"')
          : `${value.split(' ')[0]} …`),
    );
}

/** Of a message longer than this, only the beginning is kept (characters). */
const MAX_TEXT = 16_384;

/** The last messages of the page, oldest first. Older ones fall out beyond `capacity`. */
export class Ladder {
  private entries: LadderEntry[] = [];
  private count = 0;

  constructor(private readonly capacity = 400) {}

  add(direction: 'out' | 'in', message: string, t: number): LadderEntry {
    const { uri: _uri, ...summary } = parseSip(message);
    this.count += 1;
    const entry: LadderEntry = {
      n: this.count,
      t,
      direction,
      ...summary,
      text: redact(message.slice(0, MAX_TEXT)),
    };
    this.entries.push(entry);
    if (this.entries.length > this.capacity) this.entries = this.entries.slice(-this.capacity);
    return entry;
  }

  /** Messages of one dialog, or all of them without a Call-ID. */
  list(callId?: string): LadderEntry[] {
    return callId === undefined ? [...this.entries] : this.entries.filter((e) => e.callId === callId);
  }
}
