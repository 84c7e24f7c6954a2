/** Told of every SIP message that crosses the WebSocket. `t` is `performance.now()` in ms. */
export type Tap = (direction: 'out' | 'in', message: string, t: number) => void;

/** How a WebSocket ended. */
export interface Closed {
  wasOpen: boolean;
  code: number;
  reason: string;
}

/**
 * A SIP WebSocket (RFC 7118) in the shape JsSIP wants its transports. JsSIP's
 * own one hides what this phone needs: the moment a message is written, and
 * whether a failed connection had ever been open.
 */
export class TapSocket {
  /** For the Via header; JsSIP sets it. */
  via_transport: string;
  readonly sip_uri: string;
  onconnect: () => void = nothing;
  ondisconnect: (error: boolean, code?: number, reason?: string) => void = nothing;
  ondata: (data: unknown) => void = nothing;

  private ws: WebSocket | undefined;
  /** Called at the next data of `ws`. */
  private heard: (() => void)[] = [];
  private pingTimer: ReturnType<typeof setInterval> | undefined;

  /** @throws TypeError when `url` is no ws: or wss: URL. */
  constructor(
    readonly url: string,
    private readonly tap: Tap,
    private readonly onclosed: (how: Closed) => void,
  ) {
    const parsed = new URL(url);
    if (parsed.protocol !== 'ws:' && parsed.protocol !== 'wss:') {
      throw new TypeError(`not a WebSocket URL: ${url}`);
    }
    this.via_transport = parsed.protocol === 'wss:' ? 'WSS' : 'WS';
    this.sip_uri = `sip:${parsed.host};transport=ws`;
  }

  connect(): void {
    if (this.ws) return;
    let ws: WebSocket;
    try {
      ws = this.dial();
    } catch {
      // A blocked URL (mixed content) throws at once; report it like any other failure.
      queueMicrotask(() => this.closed({ wasOpen: false, code: 1006, reason: '' }, false));
      return;
    }
    this.ws = ws;
    ws.onopen = () => this.onconnect();
    this.listen(ws, false);
  }

  private dial(): WebSocket {
    const ws = new WebSocket(this.url, 'sip');
    ws.binaryType = 'arraybuffer';
    return ws;
  }

  private listen(ws: WebSocket, wasOpen: boolean): void {
    ws.addEventListener('open', () => (wasOpen = true));
    ws.onmessage = (e: MessageEvent) => {
      const text = typeof e.data === 'string' ? e.data : new TextDecoder().decode(e.data as ArrayBuffer);
      for (const f of this.heard.splice(0)) f();
      if (text.trim() !== '') this.tap('in', text, performance.now());
      this.ondata(text);
    };
    ws.onclose = (e: CloseEvent) => {
      this.forget();
      this.closed({ wasOpen, code: e.code, reason: e.reason }, e.wasClean);
    };
  }

  /** Asks the far end for a sign of life (RFC 5626 §3.5.1): false when nothing comes within `ms`. Without an open connection: true, that is known. */
  answers(ms: number): Promise<boolean> {
    return new Promise((resolve) => {
      if (!this.send('\r\n\r\n')) {
        resolve(true);
        return;
      }
      const timer = setTimeout(() => resolve(false), ms);
      this.heard.push(() => {
        clearTimeout(timer);
        resolve(true);
      });
    });
  }

  /**
   * Asks the far end for a sign of life (RFC 5626 §3.5.1) and meanwhile opens another connection, which takes the place of this one if it is
   * open first: an address that is gone takes its connections with it, and nothing else tells before TCP gives up, a quarter of an hour later.
   * For JsSIP this connection ends then, and the next begins. `replaced` is called just before.
   */
  async renew(replaced: () => void): Promise<void> {
    const old = this.ws;
    if (!old || !this.send('\r\n\r\n')) return;
    let alive = false;
    this.heard.push(() => (alive = true));
    for (let i = 0; i < RENEWALS && !alive && this.ws === old; i += 1) {
      const ws = this.dial();
      const [open] = await Promise.all([opened(ws, RENEW_MS), pause(HEAD_START_MS)]);
      if (open && !alive && this.ws === old) {
        replaced();
        this.replace(old, ws);
        return;
      }
      drop(ws);
      if (!open) await pause(RENEW_PAUSE_MS);
    }
  }

  private replace(old: WebSocket, ws: WebSocket): void {
    drop(old);
    this.forget();
    this.ondisconnect(true, 1006, '');
    this.ws = ws;
    this.listen(ws, true);
    this.onconnect();
  }

  disconnect(): void {
    const ws = this.ws;
    this.forget();
    if (ws) drop(ws);
  }

  send(message: string): boolean {
    if (!this.ws || this.ws.readyState !== WebSocket.OPEN) return false;
    const text = String(message);
    this.ws.send(text);
    if (text.trim() !== '') this.tap('out', text, performance.now());
    return true;
  }

  isConnected(): boolean {
    return this.ws?.readyState === WebSocket.OPEN;
  }

  isConnecting(): boolean {
    return this.ws?.readyState === WebSocket.CONNECTING;
  }

  /**
   * Sends CRLF pings (RFC 5626 §3.5.1) at 80..100 % of the flow timer that the
   * registrar gave, or stops them when it gave none.
   */
  keepAlive(flowTimerSeconds: number | undefined): void {
    clearInterval(this.pingTimer);
    this.pingTimer = undefined;
    if (!flowTimerSeconds || flowTimerSeconds < 5) return;
    const everyMs = flowTimerSeconds * 1000 * (0.8 + 0.2 * Math.random()) - 1000;
    this.pingTimer = setInterval(() => this.send('\r\n\r\n'), everyMs);
  }

  private closed(how: Closed, clean: boolean): void {
    this.onclosed(how);
    this.ondisconnect(!clean, how.code, how.reason);
  }

  private forget(): void {
    clearInterval(this.pingTimer);
    this.pingTimer = undefined;
    this.ws = undefined;
    this.heard = [];
  }
}

/** How long one attempt at a new connection may take, ms, how long the next waits, and how many there are. */
const RENEW_MS = 1000;
const RENEW_PAUSE_MS = 100;
const RENEWALS = 20;

/** How long the answer to the question has at least, whatever is faster, ms. */
const HEAD_START_MS = 50;

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Waits until `ws` is open; false when it has failed or takes longer than `ms`. */
function opened(ws: WebSocket, ms: number): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(false), ms);
    const settle = (open: boolean) => {
      clearTimeout(timer);
      resolve(open);
    };
    ws.onopen = () => settle(true);
    ws.onclose = () => settle(false);
  });
}

/** Closes `ws` and hears of it no more. */
function drop(ws: WebSocket): void {
  ws.onopen = ws.onclose = ws.onmessage = null;
  ws.close();
}

function nothing(): void {}
