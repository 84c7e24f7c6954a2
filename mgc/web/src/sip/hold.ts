import type { RTCSession } from 'jssip/lib/RTCSession';
import type { Failure } from './failure';

/** How often a hold that had to wait for another exchange is tried again, ms. */
const RETRY_MS = 100;

/** What JsSIP says when an offer of ours went with its connection; it would end the call. */
const LOST = 'Connection Error';

/** What hold needs of JsSIP beyond its documented surface. */
interface SessionInternals {
  _localHold: boolean;
  _setLocalMediaStatus(): void;
}

/**
 * Hold and resume of one call (RFC 3264 §8.4). The wish is kept and carried out
 * as soon as no other offer is under way. A refused re-INVITE leaves the call as
 * it was (RFC 3261 §14.1), one that went with a dead connection is made again over
 * the next; JsSIP would end the call for either.
 */
export class Hold {
  private wish = false;
  private offering = false;
  private timer: ReturnType<typeof setInterval> | undefined;

  constructor(
    private readonly session: RTCSession,
    private readonly events: { changed(): void; refused(f: Failure): void },
    /** Whether a request can be sent now. */
    private readonly online: () => boolean,
  ) {
    session.on('hold', () => events.changed());
    session.on('unhold', () => events.changed());
    this.surviveRefusal();
  }

  /** We hold the far end. */
  get local(): boolean {
    return this.session.isOnHold().local;
  }

  /** The far end holds us. */
  get remote(): boolean {
    return this.session.isOnHold().remote;
  }

  set(on: boolean): void {
    this.wish = on;
    this.pursue();
  }

  close(): void {
    clearInterval(this.timer);
    this.timer = undefined;
  }

  private pursue(): void {
    if (this.session.isEnded() || this.local === this.wish) {
      this.close();
      return;
    }
    if (this.online() && this.session.isReadyToReOffer()) {
      const done = () => (this.offering = false);
      this.offering = this.wish ? this.session.hold({}, done) : this.session.unhold({}, done);
    }
    this.timer ??= setInterval(() => this.pursue(), RETRY_MS);
  }

  private surviveRefusal(): void {
    const { session } = this;
    const terminate = session.terminate.bind(session);
    session.terminate = (options) => {
      const why = options?.reason_phrase;
      if (why === 'Hold Failed' || why === 'Unhold Failed') void this.revert(why === 'Hold Failed');
      else if (why === LOST && this.offering) void this.again();
      else terminate(options);
    };
  }

  private async revert(wasHolding: boolean): Promise<void> {
    this.close();
    this.wish = !wasHolding;
    if (!(await this.undo(!wasHolding))) return;
    this.events.refused({
      code: wasHolding ? 'hold-refused' : 'resume-refused',
      title: wasHolding ? 'Hold not possible' : 'Resume not possible',
      detail: 'The other side did not agree; the call goes on as before.',
      status: 0,
    });
    this.events.changed();
  }

  /** The offer was lost: it is made anew as soon as there is a connection. */
  private async again(): Promise<void> {
    if (!(await this.undo(!this.local))) return;
    this.events.changed();
    this.pursue();
  }

  /** Takes our offer back, with the hold as it was before; false when the call has ended. */
  private async undo(held: boolean): Promise<boolean> {
    this.offering = false;
    const internals = this.session as unknown as SessionInternals;
    internals._localHold = held;
    const pc = this.session.connection;
    if (pc?.signalingState === 'have-local-offer') await pc.setLocalDescription({ type: 'rollback' });
    if (this.session.isEnded()) return false;
    internals._setLocalMediaStatus();
    return true;
  }
}
