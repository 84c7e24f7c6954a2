import onsetUrl from './onset.worklet.ts?worker&url';
import { dominant, rmsDb, type Tone } from './tone';

/** Audio louder than this counts as heard, in dBFS. */
export const HEARD_DB = -50;

/** Enough for 5.9 Hz per bin at 48 kHz: 170 ms of signal. */
const FFT = 8192;

/** Listens to one stream: level, spectrum, and the first sound in it. */
export interface Probe {
  /** RMS over the last ~21 ms, dBFS. */
  level(): number;
  tone(): Tone;
  close(): void;
}

/**
 * The page's one AudioContext and what hangs on it. Browsers hold a context
 * back until the user has touched the page; `resume` is called on each touch.
 */
export class AudioBench {
  readonly ctx: AudioContext;
  private readonly sink: GainNode;
  private readonly ready: Promise<boolean>;
  private onsetReady = false;

  constructor() {
    this.ctx = new AudioContext({ latencyHint: 'interactive' });
    this.sink = this.ctx.createGain();
    // Probed streams are rendered silently: they sound through <audio> elements.
    this.sink.gain.value = 0;
    this.sink.connect(this.ctx.destination);
    this.ready = this.loadOnset();
  }

  private async loadOnset(): Promise<boolean> {
    try {
      await this.ctx.audioWorklet.addModule(onsetUrl);
      this.onsetReady = true;
    } catch {
      // Without AudioWorklet (insecure page) only the onset time is missing.
    }
    return this.onsetReady;
  }

  /** Resolves when probes report onsets (false: they never will). */
  whenReady(): Promise<boolean> {
    return this.ready;
  }

  get running(): boolean {
    return this.ctx.state === 'running';
  }

  async resume(): Promise<void> {
    if (this.ctx.state === 'suspended') await this.ctx.resume();
  }

  /** Hangs a probe on `stream`. `onset` is called once, with `performance.now()` ms of the first sound. */
  probe(stream: MediaStream, onset?: (t: number) => void): Probe {
    const source = this.ctx.createMediaStreamSource(stream);
    const analyser = this.ctx.createAnalyser();
    analyser.fftSize = FFT;
    analyser.smoothingTimeConstant = 0;
    source.connect(analyser).connect(this.sink);
    const worklet = onset && this.onsetReady ? this.onsetNode(source, onset) : undefined;
    const samples = new Float32Array(FFT);
    const bins = new Float32Array(analyser.frequencyBinCount);
    return {
      level: () => {
        analyser.getFloatTimeDomainData(samples);
        return rmsDb(samples.subarray(FFT - 1024));
      },
      tone: () => {
        analyser.getFloatFrequencyData(bins);
        analyser.getFloatTimeDomainData(samples);
        return { ...dominant(bins, this.ctx.sampleRate / FFT), rmsDb: rmsDb(samples) };
      },
      close: () => {
        source.disconnect();
        analyser.disconnect();
        worklet?.disconnect();
        worklet?.port.close();
      },
    };
  }

  private onsetNode(source: AudioNode, onset: (t: number) => void): AudioWorkletNode {
    const node = new AudioWorkletNode(this.ctx, 'isthmus-onset', {
      processorOptions: { thresholdDb: HEARD_DB },
      outputChannelCount: [1],
    });
    const wallToPerf = Date.now() - performance.now();
    node.port.onmessage = (e: MessageEvent<{ wallClockMs: number }>) => {
      onset(e.data.wallClockMs - wallToPerf);
    };
    source.connect(node).connect(this.sink);
    return node;
  }
}
