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
    let opened = false;
    let ws: WebSocket;
    try {
      ws = new WebSocket(this.url, 'sip');
    } catch {
      // A blocked URL (mixed content) throws at once; report it like any other failure.
      queueMicrotask(() => this.closed({ wasOpen: false, code: 1006, reason: '' }, false));
      return;
    }
    this.ws = ws;
    ws.binaryType = 'arraybuffer';
    ws.onopen = () => {
      opened = true;
      this.onconnect();
    };
    ws.onmessage = (e: MessageEvent) => {
      const text = typeof e.data === 'string' ? e.data : new TextDecoder().decode(e.data as ArrayBuffer);
      if (text.trim() !== '') this.tap('in', text, performance.now());
      this.ondata(text);
    };
    ws.onclose = (e: CloseEvent) => {
      this.forget();
      this.closed({ wasOpen: opened, code: e.code, reason: e.reason }, e.wasClean);
    };
  }

  disconnect(): void {
    const ws = this.ws;
    this.forget();
    if (!ws) return;
    ws.onopen = ws.onclose = ws.onmessage = null;
    ws.close();
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
  }
}

function nothing(): void {}
