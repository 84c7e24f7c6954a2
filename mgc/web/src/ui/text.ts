import type { Call } from '../sip/call';
import type { Phone } from '../sip/phone';

/** "0:07", "12:34", "1:02:03". */
export function clock(seconds: number): string {
  const s = Math.max(0, Math.floor(seconds));
  const two = (n: number) => String(n).padStart(2, '0');
  const hours = Math.floor(s / 3600);
  const minutes = Math.floor(s / 60) % 60;
  return hours > 0 ? `${hours}:${two(minutes)}:${two(s % 60)}` : `${minutes}:${two(s % 60)}`;
}

/** What a call is doing, for people. */
export function callStateText(c: Call): string {
  switch (c.state) {
    case 'starting':
      return 'Starting…';
    case 'calling':
      return 'Calling…';
    case 'ringing':
      return 'Ringing…';
    case 'incoming':
      return 'Incoming call';
    case 'answering':
      return 'Connecting…';
    case 'ended':
      return c.failure?.title ?? 'Call ended';
    case 'connected':
      if (c.iceState === 'disconnected') return 'Audio interrupted, reconnecting…';
      if (c.transfer.busy) return 'Transferring…';
      if (c.hold.local && c.hold.remote) return 'On hold by both sides';
      if (c.hold.local) return 'On hold';
      if (c.hold.remote) return `${c.peer} put you on hold`;
      return c.muted ? 'Connected · you are muted' : 'Connected';
  }
}

export function registrationText(p: Phone): string {
  switch (p.state) {
    case 'registered':
      return 'Ready';
    case 'connecting':
      return 'Connecting…';
    case 'registering':
      return 'Signing in…';
    case 'reconnecting':
      return 'Reconnecting…';
    case 'failed':
      return p.failure?.title ?? 'Not signed in';
    case 'offline':
      return 'Signed out';
  }
}

/** Rows of the facts table; what is not known is left out. */
export function factsOf(c: Call): [string, string][] {
  const m = c.media;
  if (!m) return [];
  const last = m.samples.at(-1);
  const rows: [string, string | undefined][] = [
    ['Codec', codecs(m.facts.codecIn, m.facts.codecOut)],
    ['Local', m.facts.localCandidate],
    ['Remote', m.facts.remoteCandidate],
    ['Path', m.facts.localCandidate && pathText(m.facts.relay)],
    ['Security', [m.facts.dtls, m.facts.srtp].filter(Boolean).join(' · ') || undefined],
    ['Bit rate', rates(last?.inKbps, last?.outKbps)],
    [
      'Packets',
      m.totals && `${m.totals.packetsReceived} in, ${m.totals.packetsSent} out, ${m.totals.packetsLost} lost`,
    ],
    ['Set-up', setup(c)],
  ];
  return rows.filter((r): r is [string, string] => Boolean(r[1]));
}

function codecs(a: string | undefined, b: string | undefined): string | undefined {
  if (a && b && a !== b) return `${a} in, ${b} out`;
  return a ?? b;
}

/** Whether a TURN server relays the call, which is slower than the direct way, and by which protocol. */
function pathText(relay: string | undefined): string {
  if (relay === undefined) return 'direct';
  return relay === 'unknown'
    ? 'relayed by the TURN server'
    : `relayed by the TURN server over ${relay.toUpperCase()}`;
}

function rates(a: number | undefined, b: number | undefined): string | undefined {
  if (a === undefined || b === undefined) return undefined;
  return `${a.toFixed(0)} in, ${b.toFixed(0)} out kbit/s`;
}

/** How fast sound came; the ringing time of a person is told apart. */
function setup(c: Call): string | undefined {
  const { inviteSentAt, answeredAt, answerSentAt, firstAudioAt } = c.metrics;
  if (firstAudioAt === undefined) return undefined;
  const since = (t: number | undefined, what: string) =>
    t === undefined || t > firstAudioAt ? [] : [`${Math.round(firstAudioAt - t)} ms from ${what}`];
  const parts =
    c.direction === 'out'
      ? [...since(inviteSentAt, 'INVITE'), ...since(answeredAt, 'answer')]
      : since(answerSentAt, 'answer');
  return parts.length > 0 ? `audio ${parts.join(', ')}` : undefined;
}
