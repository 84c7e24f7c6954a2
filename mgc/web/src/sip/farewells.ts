import type { SipSummary } from './ladder';

type Head = Pick<SipSummary, 'method' | 'status' | 'callId'>;

/** How long a BYE may wait for its answer, ms: timer F of RFC 3261 §17.1.2.2. */
const WAIT_MS = 32_000;

/** Calls that may end at once and still be remembered. */
const MOST = 8;

/**
 * BYEs that have no answer yet. JsSIP gives a request up together with its
 * connection; a BYE that went out over one that was dead already has to be said
 * again over the next, or the other end goes on listening.
 */
export class Farewells {
  private readonly open = new Map<string, { message: string; at: number }>();

  /** Takes a message that was sent at `now`, ms; true for a BYE. */
  sent(m: Head, message: string, now: number): boolean {
    if (m.method !== 'BYE' || m.status !== 0) return false;
    this.open.delete(m.callId);
    this.open.set(m.callId, { message, at: now });
    const [oldest] = this.open.keys();
    if (this.open.size > MOST && oldest !== undefined) this.open.delete(oldest);
    return true;
  }

  /** Takes a message that was received: a final answer to a BYE settles it. */
  received(m: Head): void {
    if (m.method === 'BYE' && m.status >= 200) this.open.delete(m.callId);
  }

  /** BYEs to be said again at `now`, ms. */
  unanswered(now: number): string[] {
    for (const [id, { at }] of this.open) if (now - at > WAIT_MS) this.open.delete(id);
    return [...this.open.values()].map(({ message }) => message);
  }
}
