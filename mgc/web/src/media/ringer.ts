/** Which call-progress sound is wanted. */
export type Ring = 'none' | 'incoming' | 'ringback' | 'waiting';

/** [frequencies Hz, on s, off s, gain] */
const PATTERNS: Record<Exclude<Ring, 'none'>, [number[], number, number, number]> = {
  incoming: [[523.25, 659.25], 0.9, 1.6, 0.12],
  ringback: [[425], 1, 4, 0.06],
  waiting: [[425], 0.2, 4.8, 0.08],
};

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
