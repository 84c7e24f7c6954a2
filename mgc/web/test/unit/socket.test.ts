import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { TapSocket } from '../../src/sip/socket';

/** A WebSocket as far as TapSocket needs it; the test is its network. */
class Fake extends EventTarget {
  static made: Fake[] = [];
  static readonly OPEN = 1;
  static readonly CONNECTING = 0;
  readyState = 0;
  sent: string[] = [];
  onopen: (() => void) | null = null;
  onclose: ((e: unknown) => void) | null = null;
  onmessage: ((e: unknown) => void) | null = null;
  constructor() {
    super();
    Fake.made.push(this);
  }
  send(text: string) {
    this.sent.push(text);
  }
  close() {
    this.readyState = 3;
  }
  opens() {
    this.readyState = 1;
    this.dispatchEvent(new Event('open'));
    this.onopen?.();
  }
  says(data: string) {
    this.onmessage?.({ data });
  }
  fails() {
    this.readyState = 3;
    this.onclose?.({ code: 1006, reason: '', wasClean: false });
  }
}

/** A socket with an open connection; `log` is what JsSIP is told. */
function connected() {
  const log: string[] = [];
  const socket = new TapSocket(
    'ws://gateway/sip',
    () => {},
    (how) => log.push(`closed ${how.wasOpen}`),
  );
  socket.onconnect = () => log.push('connect');
  socket.ondisconnect = () => log.push('disconnect');
  socket.ondata = (data) => log.push(`data ${String(data).trim()}`);
  socket.connect();
  const old = at(0);
  old.opens();
  log.length = 0;
  return { socket, old, log };
}

function at(i: number): Fake {
  const ws = Fake.made[i];
  if (!ws) throw new Error(`no WebSocket ${i}`);
  return ws;
}

beforeEach(() => {
  Fake.made = [];
  vi.useFakeTimers();
  vi.stubGlobal('WebSocket', Fake);
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

describe('a question', () => {
  test('is answered by whatever comes, or in vain', async () => {
    const { socket, old } = connected();
    const answered = socket.answers(1000);
    expect(old.sent).toEqual(['\r\n\r\n']);
    old.says('\r\n');
    expect(await answered).toBe(true);
    const silent = socket.answers(1000);
    await vi.advanceTimersByTimeAsync(1000);
    expect(await silent).toBe(false);
    expect(Fake.made.length).toBe(1); // it opens nothing
  });

  test('is not asked without a connection', async () => {
    const { socket } = connected();
    socket.disconnect();
    expect(await socket.answers(1000)).toBe(true);
  });
});

describe('a connection in doubt', () => {
  test('is replaced by one that is open before it answers', async () => {
    const { socket, old, log } = connected();
    let replaced = 0;
    const done = socket.renew(() => (replaced += 1));
    expect(old.sent).toEqual(['\r\n\r\n']);
    at(1).opens();
    expect(replaced).toBe(0); // the old one has a moment to answer
    await vi.advanceTimersByTimeAsync(50);
    await done;
    expect(replaced).toBe(1);
    expect(log).toEqual(['disconnect', 'connect']);
    expect(old.readyState).toBe(3);
    old.says('late');
    old.fails();
    at(1).says('new');
    socket.send('x');
    expect(log.slice(2)).toEqual(['data new']);
    expect(at(1).sent).toEqual(['x']);
  });

  test('stays when it answers first, and the other is dropped', async () => {
    const { socket, old, log } = connected();
    const done = socket.renew(() => log.push('replaced'));
    at(1).opens();
    old.says('\r\n');
    await vi.advanceTimersByTimeAsync(50);
    await done;
    expect(log).toEqual(['data ']);
    expect(at(1).readyState).toBe(3);
    socket.send('x');
    expect(old.sent.at(-1)).toBe('x');
  });

  test('is replaced later when the network is not there yet', async () => {
    const { socket, log } = connected();
    const done = socket.renew(() => log.push('replaced'));
    at(1).fails();
    await vi.advanceTimersByTimeAsync(150);
    await vi.advanceTimersByTimeAsync(1100); // nothing comes of the second
    at(3).opens();
    await vi.advanceTimersByTimeAsync(50);
    await done;
    expect(log).toEqual(['replaced', 'disconnect', 'connect']);
  });

  test('that ends meanwhile is left to JsSIP', async () => {
    const { socket, old, log } = connected();
    const done = socket.renew(() => log.push('replaced'));
    old.fails();
    at(1).opens();
    await vi.advanceTimersByTimeAsync(50);
    await done;
    expect(log).toEqual(['closed true', 'disconnect']);
    expect(at(1).readyState).toBe(3);
  });
});
