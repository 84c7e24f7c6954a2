import { describe, expect, test, vi } from 'vitest';
import { friendly, parseIdentity } from '../../src/core/account';
import { defaultConfig, defaultWsUrl, loadConfig, parseConfig } from '../../src/core/config';
import { Emitter } from '../../src/core/emitter';
import { dominant, meterFraction, rmsDb } from '../../src/media/tone';
import { clock } from '../../src/ui/text';

const HTTP = { protocol: 'http:', host: 'gw:8080', hostname: 'gw' };
const HTTPS = { protocol: 'https:', host: 'gw.example', hostname: 'gw.example' };

describe('identity', () => {
  test.each([
    ['alice', 'sip:alice@d.example'],
    ['  sip:alice@other.example ', 'sip:alice@other.example'],
    ['alice@[2001:db8::1]:5060', 'sip:alice@[2001:db8::1]:5060'],
    ['+4930123', 'sip:+4930123@d.example'],
    ['SIPS:bob@x.org', 'sip:bob@x.org'],
  ])('%s is %s', (typed, uri) => {
    expect(parseIdentity(typed, 'd.example')?.uri).toBe(uri);
  });
  test.each([
    '',
    '   ',
    '@d',
    'a b',
    'alice@',
    'alice@x y',
    'alice@x\r\nFrom: mallory',
    '"q"<a>',
    'alice;x=y',
  ])('%j is none', (typed) => {
    expect(parseIdentity(typed, 'd.example')).toBeUndefined();
  });
  test('friendly shortens own addresses only', () => {
    expect(friendly('sip:bob@d.example;transport=ws', 'D.example')).toBe('bob');
    expect(friendly('sip:bob@else.example', 'd.example')).toBe('bob@else.example');
    expect(friendly('sip:gateway.example', 'd.example')).toBe('gateway.example');
  });
});

describe('config', () => {
  test('the WebSocket follows the page', () => {
    expect(defaultWsUrl(HTTP, '/sip')).toBe('ws://gw:8080/sip');
    expect(defaultWsUrl(HTTPS, 'ws')).toBe('wss://gw.example/ws');
  });
  test('good fields are taken, bad ones ignored one by one', () => {
    const c = parseConfig(
      {
        domain: 'd.example',
        wsPath: 5,
        demoUsers: [{ user: 'a', password: 'b' }, { user: 'no-password' }, 'x'],
        demoTargets: [{ uri: 'sip:echo@d' }, { label: 'no uri' }],
        iceServers: [{ urls: 'stun:s' }, {}, 3],
      },
      defaultConfig(HTTP),
    );
    expect(c).toEqual({
      domain: 'd.example',
      wsPath: '/sip',
      registrarHint: '',
      demoUsers: [{ user: 'a', password: 'b' }],
      demoTargets: [{ uri: 'sip:echo@d', label: 'sip:echo@d' }],
      iceServers: [{ urls: 'stun:s' }],
    });
  });
  test('absent, broken or unreachable: the defaults', async () => {
    const want = defaultConfig(HTTP);
    const fetchers = [
      vi.fn(async () => new Response('', { status: 404 })),
      vi.fn(async () => new Response('{', { status: 200 })),
      vi.fn(async () => Promise.reject(new TypeError('down'))),
    ];
    for (const f of fetchers) expect(await loadConfig(HTTP, f as unknown as typeof fetch)).toEqual(want);
    const good = vi.fn(async () => new Response('{"domain":"z"}'));
    expect((await loadConfig(HTTP, good as unknown as typeof fetch)).domain).toBe('z');
  });
});

describe('tone', () => {
  test('a peak between bins is found between them', () => {
    // A parabola in dB with its top at bin 10.3.
    const bins = Array.from({ length: 64 }, (_, i) => -30 - (i - 10.3) ** 2);
    const { hz, db } = dominant(bins, 100);
    expect(hz).toBeCloseTo(1030, 3);
    expect(db).toBeCloseTo(-30.09, 2);
  });
  test('silence has no frequency, and DC does not count', () => {
    expect(dominant([-10, -20, -100, -101, -102], 100)).toEqual({ hz: 0, db: Number.NEGATIVE_INFINITY });
    expect(dominant([], 100).hz).toBe(0);
    expect(dominant(new Array(16).fill(Number.NEGATIVE_INFINITY), 100).hz).toBe(0);
  });
  test('levels', () => {
    const sine = Array.from({ length: 480 }, (_, i) => Math.sin((2 * Math.PI * i) / 48));
    expect(rmsDb(sine)).toBeCloseTo(-3.01, 2);
    expect(rmsDb([0, 0])).toBe(Number.NEGATIVE_INFINITY);
    expect(rmsDb([])).toBe(Number.NEGATIVE_INFINITY);
    expect([
      meterFraction(-70),
      meterFraction(-30),
      meterFraction(3),
      meterFraction(Number.NEGATIVE_INFINITY),
    ]).toEqual([0, 0.5, 1, 0]);
  });
});

test('clock', () => {
  expect([clock(-1), clock(7.9), clock(754), clock(3723)]).toEqual(['0:00', '0:07', '12:34', '1:02:03']);
});

test('an emitter stops telling who left, even during a round', () => {
  class E extends Emitter<{ x: number }> {
    fire(n: number) {
      this.emit('x', n);
    }
  }
  const e = new E();
  const seen: string[] = [];
  const offA = e.on('x', (n) => {
    seen.push(`a${n}`);
    offA();
  });
  e.on('x', (n) => seen.push(`b${n}`));
  e.fire(1);
  e.fire(2);
  expect(seen).toEqual(['a1', 'b1', 'b2']);
  const late: number[] = [];
  const offC = e.on('x', () => {
    offC();
    e.on('x', (n) => late.push(n));
  });
  e.fire(3);
  expect(late).toEqual([]);
  e.fire(4);
  expect(late).toEqual([4]);
});
