import type { AudioBench, Probe } from '../media/audio';
import { type MediaFacts, reduceStats, type Sample, type Totals } from '../media/stats';
import type { Tone } from '../media/tone';

/** Two minutes at one sample a second. */
const HISTORY = 120;

/** Longest wait for a first ICE candidate before the SDP goes out without any, ms. */
const GATHER_MS = 100;

/** What the media part tells its call. */
export interface MediaEvents {
  firstAudio(t: number): void;
  ice(state: RTCIceConnectionState): void;
  connection(state: RTCPeerConnectionState): void;
  sample(): void;
  /** The browser wants a touch of the page before it plays sound. */
  blocked(): void;
}

/**
 * The audible side of one call: plays the far end, probes both directions and
 * samples the statistics once a second until `close`.
 */
export class CallMedia {
  readonly samples: Sample[] = [];
  facts: MediaFacts = {};
  totals: Totals | undefined;
  private remote: Probe | undefined;
  private local: Probe | undefined;
  private element: HTMLAudioElement | undefined;
  private remoteTrack: MediaStreamTrack | undefined;
  private statsTimer: ReturnType<typeof setInterval> | undefined;

  constructor(
    private readonly pc: RTCPeerConnection,
    private readonly bench: AudioBench,
    private readonly events: MediaEvents,
  ) {
    pc.addEventListener('track', (e) => this.playRemote(e.track));
    pc.addEventListener('iceconnectionstatechange', () => events.ice(pc.iceConnectionState));
    pc.addEventListener('connectionstatechange', () => events.connection(pc.connectionState));
    capGathering(pc);
    this.statsTimer = setInterval(() => void this.sampleOnce(), 1000);
  }

  /** Starts metering what we send. */
  probeLocal(stream: MediaStream): void {
    this.local?.close();
    this.local = this.bench.probe(stream);
  }

  localDb(): number {
    return this.local?.level() ?? Number.NEGATIVE_INFINITY;
  }

  remoteDb(): number {
    return this.remote?.level() ?? Number.NEGATIVE_INFINITY;
  }

  remoteTone(): Tone {
    return this.remote?.tone() ?? { hz: 0, db: Number.NEGATIVE_INFINITY, rmsDb: Number.NEGATIVE_INFINITY };
  }

  localTone(): Tone {
    return this.local?.tone() ?? { hz: 0, db: Number.NEGATIVE_INFINITY, rmsDb: Number.NEGATIVE_INFINITY };
  }

  /** Silences the loudspeaker (a call on hold must not be heard); probes go on. */
  silence(on: boolean): void {
    if (this.element) this.element.muted = on;
  }

  /** Tries again to play, within a user gesture. */
  async play(): Promise<void> {
    await this.element?.play();
  }

  close(): void {
    clearInterval(this.statsTimer);
    this.remote?.close();
    this.local?.close();
    if (this.element) {
      this.element.srcObject = null;
      this.element.remove();
    }
  }

  /** Plays the far end's track. It comes again after each hold; once is enough. */
  private playRemote(track: MediaStreamTrack): void {
    if (track.kind !== 'audio' || track === this.remoteTrack) return;
    this.remoteTrack = track;
    const stream = new MediaStream([track]);
    this.remote?.close();
    this.remote = this.bench.probe(stream, (t) => this.events.firstAudio(t));
    this.element?.remove();
    const element = document.createElement('audio');
    element.autoplay = true;
    element.srcObject = stream;
    document.body.append(element);
    this.element = element;
    element.play().catch((e: unknown) => {
      if (e instanceof DOMException && e.name === 'NotAllowedError') this.events.blocked();
    });
  }

  private async sampleOnce(): Promise<void> {
    if (this.pc.connectionState === 'closed' || this.pc.connectionState === 'new') return;
    const report = await this.pc.getStats();
    const { sample, facts, totals } = reduceStats(report.values(), this.totals, performance.now());
    this.totals = totals;
    this.facts = facts;
    this.samples.push(sample);
    if (this.samples.length > HISTORY) this.samples.shift();
    this.events.sample();
  }
}

/**
 * Bounds the wait for candidates. The gateway is ICE-lite: it needs none of
 * ours (RFC 8445 §2.5), it learns the address from our first check. JsSIP waits
 * for an `icecandidate` event before it can be told to go on, so a browser that
 * finds no candidate soon is given an empty one, which ends JsSIP's wait.
 */
function capGathering(pc: RTCPeerConnection): void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  pc.addEventListener('icegatheringstatechange', () => {
    clearTimeout(timer);
    if (pc.iceGatheringState !== 'gathering') return;
    timer = setTimeout(() => pc.dispatchEvent(new Event('icecandidate')), GATHER_MS);
  });
}
