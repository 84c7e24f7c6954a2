import { describe, expect, test } from 'vitest';
import { Farewells } from '../../src/sip/farewells';
import { parseSip } from '../../src/sip/ladder';

const message = (first: string, id: string, cseq: string) =>
  `${first}\r\nCall-ID: ${id}\r\nCSeq: ${cseq}\r\nContent-Length: 0\r\n\r\n`;
const bye = (id: string) => message('BYE sip:bob@example.com SIP/2.0', id, '3 BYE');

describe('a BYE', () => {
  test('is said again until it is answered', () => {
    const f = new Farewells();
    expect(f.sent(parseSip(bye('a')), bye('a'), 0)).toBe(true);
    expect(f.unanswered(1000)).toEqual([bye('a')]);
    f.received(parseSip(message('SIP/2.0 100 Trying', 'a', '3 BYE')));
    f.received(parseSip(message('SIP/2.0 200 OK', 'a', '2 INVITE')));
    f.received(parseSip(message('SIP/2.0 200 OK', 'b', '3 BYE')));
    expect(f.unanswered(1000)).toEqual([bye('a')]);
    f.received(parseSip(message('SIP/2.0 481 Gone', 'a', '3 BYE')));
    expect(f.unanswered(1000)).toEqual([]);
  });

  test('is given up after timer F', () => {
    const f = new Farewells();
    f.sent(parseSip(bye('a')), bye('a'), 0);
    expect(f.unanswered(32_001)).toEqual([]);
  });

  test('is one of a few, and nothing else is', () => {
    const f = new Farewells();
    expect(f.sent(parseSip(message('SIP/2.0 200 OK', 'x', '3 BYE')), '', 0)).toBe(false);
    expect(f.sent(parseSip(message('INFO sip:bob@example.com SIP/2.0', 'x', '3 INFO')), '', 0)).toBe(false);
    for (let i = 0; i < 10; i += 1) f.sent(parseSip(bye(`${i}`)), bye(`${i}`), i);
    expect(f.unanswered(10)).toEqual([2, 3, 4, 5, 6, 7, 8, 9].map((i) => bye(`${i}`)));
  });
});
