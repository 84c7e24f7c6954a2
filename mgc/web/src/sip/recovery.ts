import type { RTCSession } from 'jssip/lib/RTCSession';

/** Waits before the restarts of one trouble, ms; there are no more until the network changes again or the media has been well. */
const BACK_OFF_MS = [0, 1000, 2000, 4000, 8000];

/** How long a restart may take until the next is tried, ms. */
const SETTLE_MS = 3000;

/** Media that has been well for so long has no trouble any more, ms. */
const WELL_MS = 10_000;

/** How often a restart that cannot be offered now is tried again, ms, and how often. */
const RETRY_MS = 20;
const RETRIES = 1500;

/**
 * Media that came for so long and then not for so long has lost its way; the ICE state tells it seconds later, ms. A far end that falls silent
 * looks alike: each restart for such a reason makes the next wait longer, up to the other limit.
 */
const FLOW_MS = 2000;
const STALL_MS = 240;
const STALL_MOST_MS = 800;
const LOOK_MS = 20;

/**
 * Media that came for so long and then not for so long is reason to ask whether the connection still stands, ms. The question is cheap, and where
 * it finds nothing the far end is one that falls silent: the next time it comes later, up to the other limit.
 */
const STEADY_MS = 500;
const DOUBT_MS = 100;
const DOUBT_MOST_MS = 400;

/** What JsSIP says when an offer of ours came to nothing; it would end the call. */
const REFUSED = ['Media Renegotiation Failed', 'Connection Error', 'Request Timeout'];

/** The network as the browser tells of it; `type` is not known everywhere. */
interface NetworkInformation extends EventTarget {
  type?: string;
}

/**
 * Keeps the media of one call alive when the network changes under it: an ICE
 * restart in a re-INVITE (RFC 8445 §9, RFC 8839 §4.4.1.1.1), which JsSIP does not
 * send by itself. The pair in use serves until the new one is up. Bounded, with a
 * growing wait; a refusal leaves the call as it was.
 */
export class Recovery {
  /** Restarts that were offered in this call. */
  offered = 0;
  private tries = 0;
  private offering = false;
  private again = false;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private well: ReturnType<typeof setTimeout> | undefined;
  private readonly stop = new AbortController();
  private look: ReturnType<typeof setInterval> | undefined;
  private flowSince: number | undefined;
  /** Media has stalled and a restart was asked for. */
  private stalled = false;
  private stallMs = STALL_MS;
  private doubted = false;
  private doubtMs = DOUBT_MS;

  constructor(
    private readonly session: RTCSession,
    /** Whether a request can be sent now. */
    private readonly online: () => boolean,
    /** Finds out whether the connection still stands; `networkChanged` is called when it had to be made anew. */
    private readonly doubt: () => void,
  ) {
    this.surviveRefusal();
    const { signal } = this.stop;
    window.addEventListener('online', () => this.told(), { signal });
    const network = (navigator as Navigator & { connection?: NetworkInformation }).connection;
    let type = network?.type;
    network?.addEventListener(
      'change', // comes for a new estimate of the speed, too
      () => {
        if (network.type === type) return;
        type = network.type;
        this.told();
      },
      { signal },
    );
  }

  /** Takes a change of the ICE state. */
  ice(state: RTCIceConnectionState): void {
    clearTimeout(this.well);
    if (state === 'connected' || state === 'completed') {
      this.well = setTimeout(() => (this.tries = 0), WELL_MS);
    } else if (state === 'disconnected' || state === 'failed') {
      this.doubt();
      this.ask();
    }
  }

  /** Watches when media came last: `heard` gives the time of its newest packet, ms, on the clock of `Date.now`. */
  watch(heard: () => number | undefined): void {
    clearInterval(this.look);
    this.look = setInterval(() => this.media(Date.now(), heard()), LOOK_MS);
  }

  private media(now: number, heard: number | undefined): void {
    const { local, remote } = this.session.isOnHold();
    if (heard === undefined || local || remote) {
      this.flowSince = undefined;
    } else if (now - heard < this.stallMs) {
      this.flowSince ??= now;
      this.stalled = false;
      if (now - heard < DOUBT_MS) this.doubted = false;
      else if (!this.doubted && now - heard >= this.doubtMs && heard - this.flowSince > STEADY_MS) {
        this.doubted = true;
        this.doubtMs = Math.min(2 * this.doubtMs, DOUBT_MOST_MS);
        this.doubt();
      }
    } else if (this.flowSince !== undefined && now - this.flowSince > FLOW_MS) {
      this.flowSince = undefined;
      this.stalled = true;
      this.stallMs = Math.min(2 * this.stallMs, STALL_MOST_MS);
      this.doubt();
      this.ask();
    }
  }

  /** The browser says that its network has changed. */
  private told(): void {
    this.doubt();
    this.networkChanged();
  }

  /** The way to the gateway may be another now. */
  networkChanged(): void {
    this.doubtMs = DOUBT_MS;
    this.tries = 0;
    clearTimeout(this.timer);
    this.timer = undefined;
    this.again = this.offering; // what is under way belongs to the network before
    this.ask();
  }

  close(): void {
    this.stop.abort();
    clearTimeout(this.timer);
    clearTimeout(this.well);
    clearInterval(this.look);
    this.timer = undefined;
  }

  private ask(): void {
    const wait = BACK_OFF_MS[this.tries];
    if (wait === undefined || this.timer || this.offering || !this.session.isEstablished()) return;
    this.timer = setTimeout(() => this.offer(RETRIES), wait);
  }

  private offer(retries: number): void {
    this.timer = undefined;
    if (this.stop.signal.aborted || this.session.isEnded()) return;
    const options = { rtcOfferConstraints: { iceRestart: true } };
    if (this.online() && this.session.renegotiate(options, () => this.settled())) {
      this.tries += 1;
      this.offered += 1;
      this.offering = true;
    } else if (retries > 0) {
      this.timer = setTimeout(() => this.offer(retries - 1), RETRY_MS);
    }
  }

  /** The offer was answered or refused: the new pair has its time. */
  private settled(): void {
    this.offering = false;
    if (this.again) {
      this.again = false;
      this.ask();
      return;
    }
    this.timer = setTimeout(() => {
      this.timer = undefined;
      // A good pair and still nothing: the far end is silent by itself, and may be so again.
      if (this.stalled) clearInterval(this.look);
      const state = this.session.connection?.iceConnectionState;
      if (state === 'disconnected' || state === 'failed') this.ask();
    }, SETTLE_MS);
  }

  private surviveRefusal(): void {
    const { session } = this;
    const terminate = session.terminate.bind(session);
    session.terminate = (options) => {
      if (this.offering && REFUSED.includes(options?.reason_phrase ?? '')) void this.revert();
      else terminate(options);
    };
  }

  private async revert(): Promise<void> {
    const pc = this.session.connection;
    if (pc?.signalingState === 'have-local-offer') await pc.setLocalDescription({ type: 'rollback' });
    this.settled();
  }
}
