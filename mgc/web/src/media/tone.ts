/** The strongest sine in a piece of audio. */
export interface Tone {
  /** Hz; 0 when there is only silence. */
  hz: number;
  /** dBFS of the strongest bin (the analyser's scale), -Infinity for silence. */
  db: number;
  /** RMS level of the whole signal, dBFS. */
  rmsDb: number;
}

/**
 * Finds the dominant frequency in an analyser's spectrum, finer than a bin by a
 * parabola through the peak and its neighbours.
 *
 * @param bins dB per bin, bin 0 is DC
 * @param binHz width of a bin
 * @param floorDb below this the answer is silence
 */
export function dominant(bins: ArrayLike<number>, binHz: number, floorDb = -80): { hz: number; db: number } {
  let peak = -1;
  // The first two bins hold DC and its leakage.
  for (let i = 2; i < bins.length - 1; i++) {
    if (peak < 0 || (bins[i] as number) > (bins[peak] as number)) peak = i;
  }
  const db = peak < 0 ? Number.NEGATIVE_INFINITY : (bins[peak] as number);
  if (!(db > floorDb)) return { hz: 0, db: Number.NEGATIVE_INFINITY };
  const a = bins[peak - 1] as number;
  const c = bins[peak + 1] as number;
  const curve = a - 2 * db + c;
  const shift = Number.isFinite(curve) && curve !== 0 ? (a - c) / (2 * curve) : 0;
  return { hz: (peak + shift) * binHz, db };
}

/** RMS of samples in -1..1 as dBFS; -Infinity for silence. */
export function rmsDb(samples: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < samples.length; i++) sum += (samples[i] as number) ** 2;
  const rms = samples.length ? Math.sqrt(sum / samples.length) : 0;
  return rms > 0 ? 20 * Math.log10(rms) : Number.NEGATIVE_INFINITY;
}

/** A level as a meter fraction: -60 dBFS and less is 0, 0 dBFS is 1. */
export function meterFraction(db: number): number {
  if (!Number.isFinite(db)) return 0;
  return Math.min(1, Math.max(0, (db + 60) / 60));
}
