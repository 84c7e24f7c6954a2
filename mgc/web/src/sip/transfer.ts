import type { IncomingRequest } from 'jssip/lib/SIPMessage';
import type { ReferEvent, RTCSession } from 'jssip/lib/RTCSession';
import type { Failure } from './failure';

/** Where a transfer that we asked the far end for stands. */
export type TransferState = 'none' | 'asked' | 'trying' | 'done' | 'failed';

/** The far end's wish that we call somebody else (REFER). */
export interface Referral {
  /** SIP URI of whom we shall call, without headers. */
  uri: string;
  /** That call takes the place of another one of theirs. */
  replaces: boolean;
}

export interface TransferEvents {
  changed(): void;
  /** A transfer that we asked for came to nothing; the call goes on. */
  refused(f: Failure): void;
  /** The third party has the call: ours can end. */
  done(): void;
}

/** Transfer of one call in both roles: REFER with NOTIFY (RFC 3515, RFC 5589) and INVITE with Replaces (RFC 3891). */
export class Transfer {
  state: TransferState = 'none';
  /** Whom the far end wants us to call; gone once that is decided. */
  asked: Referral | undefined;
  /** Another call is taking the place of this one. */
  replaced = false;
  private referral: ReferEvent | undefined;

  constructor(
    private readonly session: RTCSession,
    private readonly events: TransferEvents,
  ) {
    session.on('refer', (e) => this.beAsked(e));
    session.on('replaces', (e) => this.beReplaced(e));
  }

  /** A transfer that we asked for is under way. */
  get busy(): boolean {
    return this.state === 'asked' || this.state === 'trying';
  }

  /** Asks the far end to call `uri`, in the place of our call `consultation` with it, if given. */
  ask(uri: string, consultation?: RTCSession): void {
    if (this.busy) return;
    this.set('asked');
    this.session.refer(uri, {
      ...(consultation ? { replaces: consultation } : {}),
      eventHandlers: {
        requestSucceeded: () => this.set('trying'),
        requestFailed: (e: { response: { status_code: number; reason_phrase: string } | null }) =>
          this.fail(e.response?.status_code ?? 0, e.response?.reason_phrase ?? ''),
        accepted: () => {
          this.set('done');
          queueMicrotask(() => this.events.done()); // the NOTIFY is answered first
        },
        failed: (e: { status_line: { status_code: number; reason_phrase: string } }) =>
          this.fail(e.status_line.status_code, e.status_line.reason_phrase),
      },
    });
  }

  /**
   * Does what the far end asked for; it is told of the progress. The new call comes as a call of its own.
   * @param options as for a call of ours
   */
  follow(options: object): void {
    const { referral } = this;
    this.forget();
    // JsSIP takes options second, though its types know of neither.
    referral?.accept(undefined, options);
  }

  /** Declines what the far end asked for. */
  stay(): void {
    const { referral } = this;
    this.forget();
    referral?.reject();
  }

  private forget(): void {
    this.referral = undefined;
    this.asked = undefined;
    this.events.changed();
  }

  private beAsked(e: ReferEvent): void {
    if (this.referral) {
      e.reject();
      return;
    }
    const uri = (
      e.request as IncomingRequest & { refer_to: { uri: { clone(): ReferUri } } }
    ).refer_to.uri.clone();
    const replaces = uri.hasHeader('replaces');
    uri.clearHeaders();
    this.referral = e;
    this.asked = { uri: uri.toString(), replaces };
    this.events.changed();
  }

  /** Who knows the dialog's tags is allowed to take it over (RFC 3891 §5); the new call is answered by Phone. */
  private beReplaced(e: ReferEvent): void {
    this.replaced = true;
    e.accept();
  }

  private set(state: TransferState): void {
    this.state = state;
    this.events.changed();
  }

  private fail(status: number, reason: string): void {
    this.set('failed');
    this.events.refused({
      code: 'transfer-failed',
      title: 'Transfer not possible',
      detail: `${status ? `The other side says ${status} ${reason}`.trim() : 'The other side did not answer'}; the call goes on as before.`,
      status,
    });
  }
}

interface ReferUri {
  hasHeader(name: string): boolean;
  clearHeaders(): void;
  toString(): string;
}
