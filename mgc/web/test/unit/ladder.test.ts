import { describe, expect, test } from 'vitest';
import { Ladder, parseSip, redact } from '../../src/sip/ladder';

const INVITE = [
  'INVITE sip:bob@isthmus.example SIP/2.0',
  'Via: SIP/2.0/WS x.invalid;branch=z9hG4bK1',
  'Call-ID: abc',
  'CSeq: 7 INVITE',
  'Content-Type: application/sdp',
  '',
  'v=0\r\nCall-ID: not-a-header',
].join('\r\n');

describe('parseSip', () => {
  test('a request', () => {
    expect(parseSip(INVITE)).toEqual({
      title: 'INVITE sip:bob@isthmus.example',
      method: 'INVITE',
      status: 0,
      callId: 'abc',
      cseq: '7 INVITE',
      sdp: true,
      uri: 'sip:bob@isthmus.example',
    });
  });
  test('a response, with compact header names and bare line feeds', () => {
    const r = parseSip('SIP/2.0 486 Busy Here\ni: abc\nCSeq: 7 INVITE\nc: text/plain\n\n');
    expect(r).toMatchObject({
      title: '486 Busy Here',
      method: 'INVITE',
      status: 486,
      callId: 'abc',
      sdp: false,
    });
  });
  test('a response without reason phrase', () => {
    expect(parseSip('SIP/2.0 200 \r\nCSeq: 1 BYE\r\n\r\n')).toMatchObject({
      title: '200',
      status: 200,
      method: 'BYE',
    });
  });
  test('rubbish gives an empty summary, cut short', () => {
    const r = parseSip('x'.repeat(5000));
    expect(r.title).toHaveLength(120);
    expect(r).toMatchObject({ method: '', status: 0, callId: '' });
    expect(parseSip('')).toMatchObject({ title: '', method: '' });
  });
});

describe('redact', () => {
  test('the digest response is blanked, the rest stays readable', () => {
    const shown = redact(
      'REGISTER sip:x SIP/2.0\r\nAuthorization: Digest username="alice", response="deadbeef", cnonce="c0", uri="sip:x"\r\nX: y\r\n\r\n',
    );
    expect(shown).not.toContain('deadbeef');
    expect(shown).not.toContain('"c0"');
    expect(shown).toContain('username="alice"');
    expect(shown).toContain('X: y');
  });
  test('tokens and other schemes are blanked whole', () => {
    expect(redact('Proxy-Authorization: Bearer s3cret')).toBe('Proxy-Authorization: Bearer …');
    expect(redact('authorization: Basic YWxpY2U6cHc=')).toBe('authorization: Basic …');
  });
});

describe('Ladder', () => {
  test('keeps the last messages and filters by call', () => {
    const l = new Ladder(3);
    for (let i = 1; i <= 5; i++)
      l.add('out', `BYE sip:x SIP/2.0\r\nCall-ID: ${i % 2 ? 'odd' : 'even'}\r\nCSeq: ${i} BYE\r\n\r\n`, i);
    expect(l.list().map((e) => e.n)).toEqual([3, 4, 5]);
    expect(l.list('even').map((e) => e.n)).toEqual([4]);
    expect(l.list('gone')).toEqual([]);
  });
  test('never holds a digest response', () => {
    const l = new Ladder();
    const e = l.add('out', 'REGISTER sip:x SIP/2.0\r\nAuthorization: Digest response="cafe"\r\n\r\n', 0);
    expect(JSON.stringify(e)).not.toContain('cafe');
  });
});
