import type { RTCSession } from 'jssip/lib/RTCSession';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Hold } from '../../src/sip/hold';

/** What hold uses of a session: an offer is under way until `done`. */
function fake() {
  let done: (() => void) | undefined;
  const pc = {
    signalingState: 'stable',
    setLocalDescription: vi.fn(() => {
      pc.signalingState = 'stable';
      return Promise.resolve();
    }),
  };
  const offer = (held: boolean) => (_: unknown, then: () => void) => {
    session._localHold = held;
    pc.signalingState = 'have-local-offer';
    done = then;
    return true;
  };
  const session = {
    _localHold: false,
    _setLocalMediaStatus: vi.fn(),
    connection: pc,
    on: vi.fn(),
    isOnHold: () => ({ local: session._localHold, remote: false }),
    isEnded: () => false,
    isReadyToReOffer: () => pc.signalingState === 'stable',
    hold: vi.fn(offer(true)),
    unhold: vi.fn(offer(false)),
    terminate: (_?: { reason_phrase?: string }) => undefined as void,
  };
  const ended = vi.fn();
  session.terminate = ended;
  let online = true;
  const hold = new Hold(
    session as unknown as RTCSession,
    { changed: vi.fn(), refused: vi.fn() },
    () => online,
  );
  return {
    hold,
    session,
    ended,
    pc,
    connect: (up: boolean) => (online = up),
    answered: () => {
      pc.signalingState = 'stable';
      done?.();
    },
    fails: (why: string) => {
      session.terminate({ reason_phrase: why });
      return vi.advanceTimersByTimeAsync(0);
    },
  };
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test('an offer that goes with its connection is made again over the next', async () => {
  const f = fake();
  f.hold.set(true);
  f.answered();
  f.hold.set(false);
  expect(f.session.unhold).toHaveBeenCalledTimes(1);
  f.connect(false);
  await f.fails('Connection Error');
  expect(f.ended).not.toHaveBeenCalled();
  expect(f.pc.setLocalDescription).toHaveBeenCalledWith({ type: 'rollback' });
  expect(f.hold.local).toBe(true);
  await vi.advanceTimersByTimeAsync(1000);
  expect(f.session.unhold).toHaveBeenCalledTimes(1);
  f.connect(true);
  await vi.advanceTimersByTimeAsync(200);
  expect(f.session.unhold).toHaveBeenCalledTimes(2);
  f.answered();
  await vi.advanceTimersByTimeAsync(1000);
  expect(f.hold.local).toBe(false);
  expect(f.session.unhold).toHaveBeenCalledTimes(2);
  f.hold.close();
});

test('what fails without an offer of hold ends the call, as does anything else', async () => {
  const f = fake();
  await f.fails('Connection Error');
  expect(f.ended).toHaveBeenCalledTimes(1);
  f.hold.set(true);
  f.answered();
  await f.fails('Connection Error');
  expect(f.ended).toHaveBeenCalledTimes(2);
  f.hold.set(false);
  await f.fails('Dialog Error');
  expect(f.ended).toHaveBeenCalledTimes(3);
  f.hold.close();
});

test('a refused hold is not tried again', async () => {
  const f = fake();
  f.hold.set(true);
  await f.fails('Hold Failed');
  expect(f.ended).not.toHaveBeenCalled();
  expect(f.hold.local).toBe(false);
  await vi.advanceTimersByTimeAsync(1000);
  expect(f.session.hold).toHaveBeenCalledTimes(1);
});
