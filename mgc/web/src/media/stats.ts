/** Quality of one call over the last second or so. Undefined: not known (yet). */
export interface Sample {
  /** `performance.now()` in ms. */
  t: number;
  /** Lost share of the packets towards us since the last sample, percent. */
  lossPct?: number | undefined;
  /** Interarrival jitter towards us (RFC 3550 §6.4.1), ms. */
  jitterMs?: number | undefined;
  /** Round trip of the media path, ms. */
  rttMs?: number | undefined;
  /** Loss that the far end reports about our packets, percent. */
  remoteLossPct?: number | undefined;
  /** Bit rates of RTP payloads, kbit/s. */
  inKbps?: number | undefined;
  outKbps?: number | undefined;
}

/** What does not change every second. */
export interface MediaFacts {
  codecIn?: string | undefined;
  codecOut?: string | undefined;
  /** "192.0.2.1:50000 host udp" */
  localCandidate?: string | undefined;
  remoteCandidate?: string | undefined;
  /** How media reaches the TURN server that relays it: "udp", "tcp" or "tls"; undefined while it goes directly. */
  relay?: string | undefined;
  dtls?: string | undefined;
  srtp?: string | undefined;
}

/** Counters, as they stood. */
export interface Totals {
  t: number;
  packetsReceived: number;
  packetsLost: number;
  packetsSent: number;
  bytesReceived: number;
  bytesSent: number;
  /** Samples that the browser had to invent (loss, underrun). */
  concealedSamples: number;
  totalSamplesReceived: number;
}

export interface Reduced {
  sample: Sample;
  facts: MediaFacts;
  totals: Totals;
}

type Stat = Record<string, unknown> & { id: string; type: string };

/**
 * Reduces a getStats() report to what the phone shows.
 * @param report the report's entries
 * @param before totals of the previous report of this call, if any
 * @param t when the report was taken, ms
 */
export function reduceStats(report: Iterable<unknown>, before: Totals | undefined, t: number): Reduced {
  const byId = new Map<string, Stat>();
  for (const s of report) {
    if (isStat(s)) byId.set(s.id, s);
  }
  const stats = [...byId.values()];
  const inbound = stats.find((s) => s.type === 'inbound-rtp' && s.kind === 'audio');
  const outbound = stats.find((s) => s.type === 'outbound-rtp' && s.kind === 'audio');
  const remoteIn = stats.find((s) => s.type === 'remote-inbound-rtp' && s.kind === 'audio');
  const transport = stats.find((s) => s.type === 'transport');
  const pair = selectedPair(stats, transport, byId);
  const totals: Totals = {
    t,
    packetsReceived: num(inbound?.packetsReceived) ?? 0,
    packetsLost: num(inbound?.packetsLost) ?? 0,
    packetsSent: num(outbound?.packetsSent) ?? 0,
    bytesReceived: num(inbound?.bytesReceived) ?? 0,
    bytesSent: num(outbound?.bytesSent) ?? 0,
    concealedSamples: num(inbound?.concealedSamples) ?? 0,
    totalSamplesReceived: num(inbound?.totalSamplesReceived) ?? 0,
  };
  const sample: Sample = {
    t,
    lossPct: before && inbound ? lossPct(before, totals) : undefined,
    jitterMs: scale(num(inbound?.jitter), 1000),
    rttMs: scale(num(pair?.currentRoundTripTime) ?? num(remoteIn?.roundTripTime), 1000),
    remoteLossPct: scale(num(remoteIn?.fractionLost), 100),
    inKbps: before ? kbps(totals.bytesReceived - before.bytesReceived, t - before.t) : undefined,
    outKbps: before ? kbps(totals.bytesSent - before.bytesSent, t - before.t) : undefined,
  };
  const facts: MediaFacts = {
    codecIn: codecText(byId.get(String(inbound?.codecId))),
    codecOut: codecText(byId.get(String(outbound?.codecId))),
    localCandidate: candidateText(byId.get(String(pair?.localCandidateId))),
    remoteCandidate: candidateText(byId.get(String(pair?.remoteCandidateId))),
    relay: relayOf(byId.get(String(pair?.localCandidateId))),
    dtls: transport ? dtlsText(transport) : undefined,
    srtp: typeof transport?.srtpCipher === 'string' ? transport.srtpCipher : undefined,
  };
  return { sample, facts, totals };
}

/** Lost share between two reports, percent. Late packets may make the loss counter fall: that is 0. */
function lossPct(before: Totals, now: Totals): number | undefined {
  const lost = Math.max(0, now.packetsLost - before.packetsLost);
  const received = Math.max(0, now.packetsReceived - before.packetsReceived);
  return lost + received === 0 ? undefined : (100 * lost) / (lost + received);
}

function selectedPair(stats: Stat[], transport: Stat | undefined, byId: Map<string, Stat>): Stat | undefined {
  const named = byId.get(String(transport?.selectedCandidatePairId));
  // Firefox has no transport stats, but marks the pair itself.
  return (
    named ??
    stats.find((s) => s.type === 'candidate-pair' && s.selected === true) ??
    stats.find((s) => s.type === 'candidate-pair' && s.nominated === true && s.state === 'succeeded')
  );
}

function codecText(c: Stat | undefined): string | undefined {
  if (!c || typeof c.mimeType !== 'string') return undefined;
  const name = c.mimeType.replace(/^audio\//i, '');
  const clock = num(c.clockRate);
  return clock ? `${name} ${clock / 1000} kHz` : name;
}

function candidateText(c: Stat | undefined): string | undefined {
  if (!c) return undefined;
  const address = typeof c.address === 'string' && c.address ? c.address : undefined;
  const host = address ? (address.includes(':') ? `[${address}]` : address) : 'hidden';
  return `${host}:${num(c.port) ?? '?'} ${c.candidateType ?? ''} ${c.protocol ?? ''}`.trim();
}

/** Firefox does not say the protocol under this name; then it is "unknown". */
function relayOf(c: Stat | undefined): string | undefined {
  if (c?.candidateType !== 'relay') return undefined;
  return typeof c.relayProtocol === 'string' ? c.relayProtocol : 'unknown';
}

/** "FEFD" is DTLS 1.2 on the wire, "FEFC" DTLS 1.3 (RFC 6347 §4.1, RFC 9147 §5.3). */
function dtlsText(s: Stat): string | undefined {
  const version = { FEFD: '1.2', FEFC: '1.3', FEFF: '1.0' }[String(s.tlsVersion)];
  if (!version) return typeof s.dtlsState === 'string' ? s.dtlsState : undefined;
  return `DTLS ${version}${typeof s.dtlsRole === 'string' ? `, ${s.dtlsRole}` : ''}`;
}

function kbps(bytes: number, ms: number): number | undefined {
  return ms > 0 && bytes >= 0 ? (bytes * 8) / ms : undefined;
}

function scale(v: number | undefined, by: number): number | undefined {
  return v === undefined ? undefined : v * by;
}

function num(v: unknown): number | undefined {
  return typeof v === 'number' && Number.isFinite(v) ? v : undefined;
}

function isStat(s: unknown): s is Stat {
  return typeof s === 'object' && s !== null && 'id' in s && 'type' in s;
}
