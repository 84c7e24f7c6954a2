import type { RTCSession } from 'jssip/lib/RTCSession';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { Recovery } from '../../src/sip/recovery';

/** A session as far as recovery needs it; what it was asked for is in `offers`. */
function fake() {
  const window = new EventTarget();
  const network = Object.assign(new EventTarget(), { type: 'wifi' });
  vi.stubGlobal('window', window);
  vi.stubGlobal('navigator', { connection: network });
  const offers: { options: unknown; done: () => void }[] = [];
  const ended: unknown[] = [];
  const state = { ready: true, online: true, ice: 'connected', held: false, rolledBack: 0, doubts: 0 };
  const session = {
    isEstablished: () => true,
    isEnded: () => false,
    isOnHold: () => ({ local: state.held, remote: false }),
    terminate: (options?: unknown) => ended.push(options),
    renegotiate: (options: unknown, done: () => void) => {
      if (state.ready) offers.push({ options, done });
      return state.ready;
    },
    connection: {
      signalingState: 'have-local-offer',
      get iceConnectionState() {
        return state.ice;
      },
      setLocalDescription: () => Promise.resolve(void (state.rolledBack += 1)),
    },
  };
  const recovery = new Recovery(
    session as unknown as RTCSession,
    () => state.online,
    () => (state.doubts += 1),
  );
  return { recovery, session, offers, ended, state, window, network };
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

describe('an ICE restart is offered', () => {
  test('at once when the pair is lost, as an ICE restart', () => {
    const f = fake();
    f.recovery.ice('disconnected');
    vi.advanceTimersByTime(0);
    expect(f.offers.map((o) => o.options)).toEqual([{ rtcOfferConstraints: { iceRestart: true } }]);
  });

  test('once for several signs of one trouble', () => {
    const f = fake();
    f.recovery.ice('disconnected');
    f.recovery.ice('failed');
    f.window.dispatchEvent(new Event('online'));
    vi.advanceTimersByTime(1000);
    expect(f.offers).toHaveLength(1);
  });

  test('at most five times, with growing waits', () => {
    const f = fake();
    f.state.ice = 'failed';
    f.recovery.ice('failed');
    const at: number[] = [];
    const start = Date.now();
    for (let seen = 0, i = 0; i < 1200; i += 1) {
      vi.advanceTimersByTime(100);
      if (f.offers.length === seen) continue;
      seen = f.offers.length;
      at.push(Date.now() - start);
      f.offers.at(-1)?.done();
    }
    expect(at).toHaveLength(5);
    const waits = at.slice(1).map((t, i) => t - (at[i] as number));
    expect(waits).toEqual([...waits].sort((a, b) => a - b));
    expect(waits[3]).toBeGreaterThan(8000);
    f.window.dispatchEvent(new Event('online'));
    vi.advanceTimersByTime(100);
    expect(f.offers).toHaveLength(6);
  });

  test('when the kind of network changes, not when its speed does', () => {
    const f = fake();
    f.network.dispatchEvent(new Event('change'));
    vi.advanceTimersByTime(100);
    expect(f.offers).toHaveLength(0);
    f.network.type = 'cellular';
    f.network.dispatchEvent(new Event('change'));
    vi.advanceTimersByTime(100);
    expect(f.offers).toHaveLength(1);
  });

  test('as soon as there is a connection and no other offer', () => {
    const f = fake();
    f.state.online = false;
    f.recovery.ice('failed');
    vi.advanceTimersByTime(2000);
    f.state.online = true;
    f.state.ready = false;
    vi.advanceTimersByTime(2000);
    expect(f.offers).toHaveLength(0);
    f.state.ready = true;
    vi.advanceTimersByTime(200);
    expect(f.offers).toHaveLength(1);
  });

  test('at once for a change of network, though another restart has its time', () => {
    const f = fake();
    f.recovery.networkChanged();
    vi.advanceTimersByTime(0);
    f.window.dispatchEvent(new Event('online'));
    vi.advanceTimersByTime(1000);
    expect(f.offers).toHaveLength(1);
    f.offers[0]?.done();
    vi.advanceTimersByTime(1);
    expect(f.offers).toHaveLength(2);
    f.offers[1]?.done();
    f.window.dispatchEvent(new Event('online'));
    vi.advanceTimersByTime(1);
    expect(f.offers).toHaveLength(3);
  });

  test('not after the end', () => {
    const f = fake();
    f.recovery.ice('failed');
    f.recovery.close();
    f.window.dispatchEvent(new Event('online'));
    vi.advanceTimersByTime(60_000);
    expect(f.offers).toHaveLength(0);
  });
});

describe('media that stops coming', () => {
  /** Lets time pass with a packet every 20 ms, or without. */
  function played() {
    const f = fake();
    let last: number | undefined;
    f.recovery.watch(() => last);
    return {
      ...f,
      pass(ms: number, media: boolean) {
        for (let i = 0; i < ms; i += 20) {
          vi.advanceTimersByTime(20);
          if (media) last = Date.now();
        }
      },
    };
  }

  test('asks for a restart within a quarter of a second, and later when it was for nothing', () => {
    const f = played();
    f.pass(3000, true);
    f.pass(220, false);
    expect(f.offers).toHaveLength(0);
    f.pass(60, false);
    expect(f.offers).toHaveLength(1);
    f.pass(100, true);
    f.offers[0]?.done();
    f.recovery.ice('connected');
    f.pass(14_000, true);
    f.pass(440, false);
    expect(f.offers).toHaveLength(1);
    f.pass(80, false);
    expect(f.offers).toHaveLength(2);
  });

  test('asks after a tenth of a second whether the connection stands, once, and later the next time', () => {
    const f = played();
    f.pass(700, true);
    f.pass(80, false);
    expect(f.state.doubts).toBe(0);
    f.pass(60, false);
    f.pass(80, false);
    expect(f.state.doubts).toBe(1);
    f.pass(600, true);
    f.pass(180, false);
    expect(f.state.doubts).toBe(1);
    f.pass(40, false);
    expect(f.state.doubts).toBe(2);
    expect(f.offers).toHaveLength(0);
    f.recovery.networkChanged(); // the doubt was right: the next is early again
    f.pass(600, true);
    f.pass(140, false);
    expect(f.state.doubts).toBe(3);
  });

  test('does not on hold', () => {
    const f = played();
    f.pass(3000, true);
    f.state.held = true;
    f.pass(5000, false);
    expect(f.offers).toHaveLength(0);
  });

  test('counts once when a good pair does not bring it back', () => {
    const f = played();
    for (let i = 0; i < 5; i += 1) {
      f.pass(5000, true);
      f.pass(2000, false);
      f.offers[0]?.done();
      f.pass(4000, false);
    }
    expect(f.offers).toHaveLength(1);
  });

  test('counts again when it did come back', () => {
    const f = played();
    for (let i = 0; i < 2; i += 1) {
      f.pass(12_000, true);
      f.pass(1500, false);
      f.offers.at(-1)?.done();
    }
    f.pass(5000, true);
    expect(f.offers).toHaveLength(2);
  });
});

describe('a refusal', () => {
  test('leaves the call and takes the offer back', async () => {
    const f = fake();
    f.recovery.networkChanged();
    vi.advanceTimersByTime(0);
    f.session.terminate({ reason_phrase: 'Media Renegotiation Failed' });
    await vi.advanceTimersByTimeAsync(0);
    expect(f.ended).toEqual([]);
    expect(f.state.rolledBack).toBe(1);
  });

  test('of something else ends it', () => {
    const f = fake();
    f.session.terminate({ reason_phrase: 'Media Renegotiation Failed' });
    f.session.terminate();
    expect(f.ended).toHaveLength(2);
  });
});
