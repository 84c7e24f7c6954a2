import { describe, expect, test } from 'vitest';
import { reduceStats } from '../../src/media/stats';

function report(over: { received?: number; lost?: number; bytes?: number } = {}) {
  return [
    {
      id: 'in',
      type: 'inbound-rtp',
      kind: 'audio',
      codecId: 'c1',
      packetsReceived: over.received ?? 100,
      packetsLost: over.lost ?? 0,
      jitter: 0.0045,
      bytesReceived: over.bytes ?? 8000,
    },
    { id: 'out', type: 'outbound-rtp', kind: 'audio', codecId: 'c2', packetsSent: 90, bytesSent: 7000 },
    { id: 'rin', type: 'remote-inbound-rtp', kind: 'audio', roundTripTime: 0.08, fractionLost: 0.25 },
    {
      id: 'tr',
      type: 'transport',
      selectedCandidatePairId: 'p2',
      tlsVersion: 'FEFD',
      dtlsRole: 'client',
      srtpCipher: 'AEAD_AES_128_GCM',
    },
    { id: 'p1', type: 'candidate-pair', nominated: false, state: 'failed', currentRoundTripTime: 9 },
    {
      id: 'p2',
      type: 'candidate-pair',
      nominated: true,
      state: 'succeeded',
      currentRoundTripTime: 0.021,
      localCandidateId: 'l',
      remoteCandidateId: 'r',
    },
    {
      id: 'l',
      type: 'local-candidate',
      address: '2001:db8::1',
      port: 5000,
      candidateType: 'host',
      protocol: 'udp',
    },
    {
      id: 'r',
      type: 'remote-candidate',
      address: '192.0.2.9',
      port: 40000,
      candidateType: 'host',
      protocol: 'udp',
    },
    { id: 'c1', type: 'codec', mimeType: 'audio/opus', clockRate: 48000 },
    { id: 'c2', type: 'codec', mimeType: 'audio/PCMA', clockRate: 8000 },
  ];
}

describe('reduceStats', () => {
  test('the first report gives facts and absolute values, no rates', () => {
    const { sample, facts } = reduceStats(report(), undefined, 1000);
    expect(facts).toEqual({
      codecIn: 'opus 48 kHz',
      codecOut: 'PCMA 8 kHz',
      localCandidate: '[2001:db8::1]:5000 host udp',
      remoteCandidate: '192.0.2.9:40000 host udp',
      dtls: 'DTLS 1.2, client',
      srtp: 'AEAD_AES_128_GCM',
    });
    expect(sample.jitterMs).toBeCloseTo(4.5);
    expect(sample.rttMs).toBeCloseTo(21);
    expect(sample.remoteLossPct).toBe(25);
    expect(sample.lossPct).toBeUndefined();
    expect(sample.inKbps).toBeUndefined();
  });

  test('a relayed call tells how its server is reached', () => {
    const relayed = (how: object) =>
      report().map((s) => (s.id === 'l' ? { ...s, candidateType: 'relay', ...how } : s));
    expect(reduceStats(relayed({ relayProtocol: 'tls' }), undefined, 0).facts.relay).toBe('tls');
    expect(reduceStats(relayed({}), undefined, 0).facts.relay).toBe('unknown');
    expect(reduceStats(report(), undefined, 0).facts.relay).toBeUndefined();
  });

  test('loss and rates are those of the interval', () => {
    const first = reduceStats(report({ received: 100, lost: 10, bytes: 8000 }), undefined, 1000);
    const { sample } = reduceStats(report({ received: 145, lost: 15, bytes: 16000 }), first.totals, 2000);
    expect(sample.lossPct).toBeCloseTo(10);
    expect(sample.inKbps).toBeCloseTo(64);
  });

  test('late packets make no negative loss, silence makes none at all', () => {
    const first = reduceStats(report({ received: 100, lost: 10 }), undefined, 0);
    expect(reduceStats(report({ received: 150, lost: 8 }), first.totals, 1000).sample.lossPct).toBe(0);
    expect(
      reduceStats(report({ received: 100, lost: 10 }), first.totals, 1000).sample.lossPct,
    ).toBeUndefined();
  });

  test('without transport stats the nominated pair counts; without a pair the RTCP round trip', () => {
    const noTransport = report().filter((s) => s.type !== 'transport');
    expect(reduceStats(noTransport, undefined, 0).sample.rttMs).toBeCloseTo(21);
    const other = {
      id: 'p0',
      type: 'candidate-pair',
      nominated: true,
      state: 'succeeded',
      currentRoundTripTime: 7,
    };
    expect(reduceStats([other, ...report()], undefined, 0).sample.rttMs).toBeCloseTo(21);
    const noPair = noTransport.filter((s) => s.type !== 'candidate-pair');
    expect(reduceStats(noPair, undefined, 0).sample.rttMs).toBeCloseTo(80);
  });

  test('an empty or foreign report gives nothing', () => {
    const { sample, facts, totals } = reduceStats([null, 3, { x: 1 }], undefined, 5);
    expect(sample).toEqual({ t: 5 });
    expect(Object.values(facts).every((v) => v === undefined)).toBe(true);
    expect(totals.packetsReceived).toBe(0);
  });
});
