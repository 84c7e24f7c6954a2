/** Which call-progress sound is wanted. */
export type Ring = 'none' | 'incoming' | 'ringback' | 'waiting';

/** [frequencies Hz, on s, off s, gain] */
const PATTERNS: Record<Exclude<Ring, 'none'>, [number[], number, number, number]> = {
  incoming: [[523.25, 659.25], 0.9, 1.6, 0.12],
  ringback: [[425], 1, 4, 0.06],
  waiting: [[425], 0.2, 4.8, 0.08],
};

/** Row and column frequencies of the keypad, Hz (ITU-T Q.23). */
const ROWS = [697, 770, 852, 941];
const COLUMNS = [1209, 1336, 1477, 1633];
const KEYS = ['123A', '456B', '789C', '*0#D'];

/** Plays ring, ringback and call-waiting tones; they are synthesised, no files. */
export class Ringer {
  private playing: Ring = 'none';
  private stopCurrent: (() => void) | undefined;

  constructor(private readonly ctx: () => AudioContext) {}

  set(ring: Ring): void {
    if (ring === this.playing) return;
    this.stopCurrent?.();
    this.stopCurrent = undefined;
    this.playing = ring;
    if (ring !== 'none') this.stopCurrent = this.start(...PATTERNS[ring]);
  }

  /** The sound of one key, for the ear of who pressed it only. */
  beep(key: string): void {
    const row = KEYS.findIndex((keys) => keys.includes(key));
    const pair = [ROWS[row], COLUMNS[KEYS[row]?.indexOf(key) ?? -1]];
    const ctx = this.ctx();
    const out = ctx.createGain();
    out.gain.value = 0.04;
    out.connect(ctx.destination);
    for (const hz of pair) {
      if (hz === undefined) continue;
      const osc = ctx.createOscillator();
      osc.frequency.value = hz;
      osc.connect(out);
      osc.start();
      osc.stop(ctx.currentTime + 0.12);
      osc.onended = () => osc.disconnect();
    }
  }

  private start(hz: number[], on: number, off: number, gain: number): () => void {
    const ctx = this.ctx();
    const out = ctx.createGain();
    out.gain.value = 0;
    out.connect(ctx.destination);
    const oscillators = hz.map((f) => {
      const osc = ctx.createOscillator();
      osc.frequency.value = f;
      osc.connect(out);
      osc.start();
      return osc;
    });
    const burst = () => {
      const t = ctx.currentTime + 0.02;
      out.gain.cancelScheduledValues(t);
      out.gain.setValueAtTime(0, t);
      out.gain.linearRampToValueAtTime(gain, t + 0.03);
      out.gain.setValueAtTime(gain, t + on - 0.05);
      out.gain.linearRampToValueAtTime(0, t + on);
    };
    burst();
    const timer = setInterval(burst, (on + off) * 1000);
    return () => {
      clearInterval(timer);
      for (const osc of oscillators) osc.stop();
      out.disconnect();
    };
  }
}
