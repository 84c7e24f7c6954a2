/** TURN servers with a credential that the gateway gave with the registration. */
export interface Issued {
  servers: RTCIceServer[];
  /** How long the credential is good, s. */
  ttl: number;
}

const FIELD = /^isthmus-ice-servers\s*:\s*(.*)$/i;

/**
 * Reads the servers from a 200 to REGISTER; undefined when the message is
 * something else or says nothing that can be used. A browser throws at a URL
 * that it does not know, which would fail the call: only TURN and STUN pass.
 */
export function issuedServers(message: string): Issued | undefined {
  if (!/^SIP\/2\.0 200\b/.test(message)) return undefined;
  const headEnd = message.search(/\r?\n\r?\n/);
  const lines = (headEnd < 0 ? message : message.slice(0, headEnd)).split(/\r?\n/);
  if (!lines.some((l) => /^cseq\s*:\s*\d+\s+REGISTER\s*$/i.test(l))) return undefined;
  const value = lines.map((l) => FIELD.exec(l)?.[1]).find((v) => v !== undefined);
  if (value === undefined) return undefined;
  const params = new Map<string, string>();
  for (const m of value.matchAll(/([a-z]+)=(?:"((?:[^"\\]|\\.)*)"|([^;"\s]*))/gi)) {
    params.set((m[1] ?? '').toLowerCase(), m[2]?.replace(/\\(.)/g, '$1') ?? m[3] ?? '');
  }
  const urls = (params.get('urls') ?? '').split(/\s+/).filter((u) => /^(turns?|stuns?):[^\s]+$/i.test(u));
  const ttl = Number(params.get('ttl'));
  const username = params.get('username') ?? '';
  const credential = params.get('credential') ?? '';
  if (urls.length === 0 || !(ttl > 0) || username === '' || credential === '') return undefined;
  return { servers: [{ urls, username, credential }], ttl };
}

/** Of the credential's life, the part after which a new one is asked for. */
const FRESH = 0.75;

/** The servers for the next call, and the moment to ask for a new credential. */
export class IceServers {
  private issued: RTCIceServer[] = [];
  private timer: ReturnType<typeof setTimeout> | undefined;

  /** @param renew registers again; called when the credential nears its end and no registration has brought a new one */
  constructor(
    private readonly fixed: RTCIceServer[],
    private readonly renew: () => void,
  ) {}

  get list(): RTCIceServer[] {
    return [...this.fixed, ...this.issued];
  }

  /** Takes a message of the registrar, if it is a 200 with servers. */
  take(message: string): void {
    const news = issuedServers(message);
    if (!news) return;
    this.issued = news.servers;
    clearTimeout(this.timer);
    // A longer time would overflow the timer; the registration is renewed far sooner.
    this.timer = setTimeout(this.renew, Math.min(news.ttl * FRESH * 1000, 2 ** 31 - 1));
  }

  /** Forgets the credential: somebody else may sign in. */
  clear(): void {
    clearTimeout(this.timer);
    this.issued = [];
  }
}
