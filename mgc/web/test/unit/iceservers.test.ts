import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { IceServers, issuedServers } from '../../src/sip/iceservers';
import { redact } from '../../src/sip/ladder';

const FIELD =
  'Isthmus-ICE-Servers: urls="turn:192.0.2.1:3478 turns:turn.example:443?transport=tcp";username="1700007200:abc";credential="c2VjcmV0+/==";ttl=7200';

function answer(field: string, first = 'SIP/2.0 200 OK', cseq = 'CSeq: 2 REGISTER'): string {
  return [first, 'Via: SIP/2.0/WS x.invalid;branch=z9hG4bK1', cseq, field, 'Content-Length: 0', '', ''].join(
    '\r\n',
  );
}

const SERVERS = [
  {
    urls: ['turn:192.0.2.1:3478', 'turns:turn.example:443?transport=tcp'],
    username: '1700007200:abc',
    credential: 'c2VjcmV0+/==',
  },
];

describe('issuedServers', () => {
  test('of a registration', () => {
    expect(issuedServers(answer(FIELD))).toEqual({ servers: SERVERS, ttl: 7200 });
  });
  test.each([
    ['another answer', answer(FIELD, 'SIP/2.0 401 Unauthorized')],
    ['another method', answer(FIELD, undefined, 'CSeq: 2 MESSAGE')],
    ['no field', answer('X: y')],
    ['no credential', answer(FIELD.replace(/;credential="[^"]*"/, ''))],
    ['no time', answer(FIELD.replace('ttl=7200', 'ttl=x'))],
    ['no server', answer(FIELD.replace(/urls="[^"]*"/, 'urls="http://a.example"'))],
    ['a field in the body', answer('X: y') + FIELD],
  ])('%s gives none', (_name, message) => {
    expect(issuedServers(message)?.servers ?? []).toEqual([]);
  });
  test('a URL that browsers do not know is left out', () => {
    const got = issuedServers(answer(FIELD.replace('turn:192', 'gopher:192')));
    expect(got?.servers[0]?.urls).toEqual(['turns:turn.example:443?transport=tcp']);
  });
});

describe('IceServers', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  test('asks for a new credential before the end, unless one came', () => {
    const renew = vi.fn();
    const ice = new IceServers([{ urls: 'stun:a.example' }], renew);
    expect(ice.list).toEqual([{ urls: 'stun:a.example' }]);
    ice.take(answer(FIELD));
    expect(ice.list).toEqual([{ urls: 'stun:a.example' }, ...SERVERS]);
    vi.advanceTimersByTime(5000 * 1000);
    ice.take(answer(FIELD));
    vi.advanceTimersByTime(5300 * 1000);
    expect(renew).not.toHaveBeenCalled();
    vi.advanceTimersByTime(200 * 1000);
    expect(renew).toHaveBeenCalledTimes(1);
  });
  test('forgets at sign-out', () => {
    const renew = vi.fn();
    const ice = new IceServers([], renew);
    ice.take(answer(FIELD));
    ice.clear();
    vi.advanceTimersByTime(1e8);
    expect(ice.list).toEqual([]);
    expect(renew).not.toHaveBeenCalled();
  });
});

test('the ladder does not show the credential', () => {
  const shown = redact(answer(FIELD));
  expect(shown).not.toContain('c2VjcmV0');
  expect(shown).toContain('turn:192.0.2.1:3478');
});
