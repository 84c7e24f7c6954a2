import type { RTCSession } from 'jssip/lib/RTCSession';
import type { Failure } from './failure';

/** How often a hold that had to wait for another exchange is tried again, ms. */
const RETRY_MS = 100;

/** What hold needs of JsSIP beyond its documented surface. */
interface SessionInternals {
  _localHold: boolean;
  _setLocalMediaStatus(): void;
}

/**
 * Hold and resume of one call (RFC 3264 §8.4). The wish is kept and carried out
 * as soon as no other offer is under way. A refused re-INVITE leaves the call as
 * it was (RFC 3261 §14.1); JsSIP would end it.
 */
export class Hold {
  private wish = false;
  private timer: ReturnType<typeof setInterval> | undefined;

  constructor(
    private readonly session: RTCSession,
    private readonly events: { changed(): void; refused(f: Failure): void },
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
    if (this.session.isReadyToReOffer()) {
      if (this.wish) this.session.hold();
      else this.session.unhold();
    }
    this.timer ??= setInterval(() => this.pursue(), RETRY_MS);
  }

  private surviveRefusal(): void {
    const { session } = this;
    const terminate = session.terminate.bind(session);
    session.terminate = (options) => {
      const refused = options?.reason_phrase;
      if (refused !== 'Hold Failed' && refused !== 'Unhold Failed') {
        terminate(options);
        return;
      }
      void this.revert(refused === 'Hold Failed');
    };
  }

  private async revert(wasHolding: boolean): Promise<void> {
    this.close();
    const internals = this.session as unknown as SessionInternals;
    internals._localHold = !wasHolding;
    this.wish = !wasHolding;
    const pc = this.session.connection;
    if (pc?.signalingState === 'have-local-offer') await pc.setLocalDescription({ type: 'rollback' });
    if (this.session.isEnded()) return;
    internals._setLocalMediaStatus();
    this.events.refused({
      code: wasHolding ? 'hold-refused' : 'resume-refused',
      title: wasHolding ? 'Hold not possible' : 'Resume not possible',
      detail: 'The other side did not agree; the call goes on as before.',
      status: 0,
    });
    this.events.changed();
  }
}
