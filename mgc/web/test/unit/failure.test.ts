import { describe, expect, test } from 'vitest';
import {
  explainCall,
  explainMicrophone,
  explainRegistration,
  explainRelease,
  explainSocket,
  refusalOf,
  retryAfterSeconds,
  warningText,
} from '../../src/sip/failure';

describe('explainCall', () => {
  const cases: [number, string, RegExp][] = [
    [404, 'not-found', /bob/],
    [408, 'timeout', /bob/],
    [480, 'unavailable', /bob/],
    [486, 'busy', /bob/],
    [488, 'no-media', /bob/],
    [503, 'no-capacity', /later/],
    [603, 'declined', /bob/],
    [403, 'forbidden', /bob/],
    [484, 'incomplete', /bob/],
  ];
  test.each(cases)('%i is %s', (status, code, detail) => {
    const f = explainCall({ status, peer: 'bob' });
    expect(f.code).toBe(code);
    expect(f.status).toBe(status);
    expect(f.detail).toMatch(detail);
    expect(f.title).not.toBe('');
  });

  test('busy and declined are no faults, no capacity is', () => {
    expect(explainCall({ status: 486 }).mild).toBe(true);
    expect(explainCall({ status: 603 }).mild).toBe(true);
    expect(explainCall({ status: 503 }).mild).toBeUndefined();
  });

  test('Retry-After is told in seconds, long ones in minutes', () => {
    expect(explainCall({ status: 503, retryAfter: 1 }).detail).toContain('in 1 second.');
    expect(explainCall({ status: 503, retryAfter: 30 }).detail).toContain('in 30 seconds.');
    expect(explainCall({ status: 503, retryAfter: 301 }).detail).toContain('in 6 minutes.');
  });

  test('a Warning text is shown with 488', () => {
    expect(explainCall({ status: 488, warning: 'no common codec' }).detail).toContain('“no common codec”');
  });

  test('unlisted codes fall back to their class', () => {
    expect(explainCall({ status: 302 }).code).toBe('redirected');
    expect(explainCall({ status: 499, phrase: 'Odd' }).detail).toContain('499 (“Odd”)');
    expect(explainCall({ status: 599 }).code).toBe('server');
    expect(explainCall({ status: 699 }).code).toBe('declined');
  });

  test('without a response the cause speaks, and an unknown cause is quoted', () => {
    expect(explainCall({ status: 0, cause: 'RTP Timeout' }).code).toBe('no-path');
    expect(explainCall({ status: 0, cause: 'Request Timeout' }).code).toBe('timeout');
    const odd = explainCall({ status: 0, cause: 'Gremlins' });
    expect(odd.code).toBe('failed');
    expect(odd.detail).toContain('Gremlins');
  });
});

describe('explainRegistration', () => {
  test('a wrong password is told apart from a silent registrar', () => {
    expect(explainRegistration({ status: 401 }).code).toBe('auth');
    expect(explainRegistration({ status: 403 }).code).toBe('auth');
    expect(explainRegistration({ status: 0, cause: 'Authentication Error' }).code).toBe('auth');
    expect(explainRegistration({ status: 0, cause: 'Request Timeout' }).code).toBe('timeout');
    expect(explainRegistration({ status: 404 }).code).toBe('unknown-user');
    expect(explainRegistration({ status: 503, retryAfter: 5 }).detail).toContain('5 seconds');
    expect(explainRegistration({ status: 500, phrase: 'Oops' }).detail).toContain('500 (“Oops”)');
  });
});

describe('explainMicrophone', () => {
  test.each([
    ['NotAllowedError', 'mic-denied'],
    ['NotFoundError', 'mic-missing'],
    ['NotReadableError', 'mic-busy'],
    ['SomethingError', 'mic-error'],
  ])('%s is %s', (name, code) => {
    expect(explainMicrophone(name, true).code).toBe(code);
  });

  test('an insecure page is the cause, whatever the browser calls it', () => {
    expect(explainMicrophone('TypeError', false).code).toBe('insecure');
    expect(explainMicrophone('NotAllowedError', false).code).toBe('insecure');
  });
});

describe('explainSocket', () => {
  const base = { url: 'ws://gw.example:8080/sip', pageProtocol: 'http:', wasOpen: false, closeCode: 1006 };
  test('every kind of trouble has its own words', () => {
    expect(explainSocket({ ...base, hostReachable: false }).code).toBe('unreachable');
    expect(explainSocket({ ...base, hostReachable: true }).code).toBe('ws-refused');
    expect(explainSocket({ ...base, url: 'wss://gw.example/sip', hostReachable: false }).code).toBe(
      'certificate',
    );
    expect(explainSocket({ ...base, pageProtocol: 'https:' }).code).toBe('mixed');
    expect(explainSocket({ ...base, wasOpen: true }).code).toBe('lost');
    expect(explainSocket({ ...base, wasOpen: true, closeCode: 1012 }).code).toBe('restart');
    expect(explainSocket({ ...base, wasOpen: true, closeCode: 1008 }).code).toBe('policy');
  });
  test('the host is named, without path', () => {
    expect(explainSocket({ ...base, hostReachable: false }).detail).toContain('gw.example:8080.');
  });
});

describe('explainRelease (RFC 3326)', () => {
  test('ordinary ends say nothing', () => {
    expect(explainRelease(undefined)).toBeUndefined();
    expect(explainRelease('Q.850;cause=16;text="Normal call clearing"')).toBeUndefined();
    expect(explainRelease('nonsense')).toBeUndefined();
  });
  test('a fault is quoted', () => {
    const f = explainRelease('SIP ;cause=488 ;text="DTLS fingerprint \\"wrong\\""');
    expect(f?.code).toBe('released');
    expect(f?.status).toBe(488);
    expect(f?.detail).toContain('DTLS fingerprint "wrong"');
    expect(explainRelease('Q.850;cause=41')?.detail).toContain('41');
  });
  test('answered elsewhere is mild', () => {
    expect(explainRelease('SIP;cause=200;text="Call completed elsewhere"')).toMatchObject({
      code: 'elsewhere',
      mild: true,
    });
  });
});

describe('reading responses', () => {
  test('refusalOf takes what is there', () => {
    const headers: Record<string, string> = {
      'Retry-After': '18 (busy);duration=60',
      Warning: '370 gw "Not enough bandwidth"',
    };
    const r = refusalOf(
      { status_code: 503, reason_phrase: 'Full', getHeader: (n: string) => headers[n] },
      'SIP Failure Code',
      'bob',
    );
    expect(r).toMatchObject({
      status: 503,
      phrase: 'Full',
      retryAfter: 18,
      warning: 'Not enough bandwidth',
      peer: 'bob',
    });
    expect(refusalOf(null, undefined)).toMatchObject({ status: 0 });
  });
  test('retryAfterSeconds and warningText survive rubbish', () => {
    expect(retryAfterSeconds('soon')).toBeUndefined();
    expect(retryAfterSeconds(null)).toBeUndefined();
    expect(retryAfterSeconds(' 120 (x)')).toBe(120);
    expect(warningText('no quotes')).toBeUndefined();
  });
});
