/** How long an unused microphone stays open, so that the next call starts at once. */
const KEEP_MS = 30_000;

/**
 * The microphone, shared by all calls. It is opened for the first call and kept
 * a little beyond the last one; each call gets its own clone of the track, so
 * that muting or holding one call leaves the others alone.
 */
export class Microphone {
  private base: Promise<MediaStream> | undefined;
  private processing = true;
  private users = 0;
  private idleTimer: ReturnType<typeof setTimeout> | undefined;
  private toneSource: { osc: OscillatorNode; stream: MediaStream } | undefined;

  constructor(private readonly audioContext: () => AudioContext) {}

  /** Echo cancellation, noise suppression, gain control; applies from the next opening on. */
  setProcessing(on: boolean): void {
    if (on === this.processing) return;
    this.processing = on;
    if (this.users === 0) this.drop();
  }

  /** Opens the microphone without using it yet. Rejects as getUserMedia does. */
  async warm(): Promise<void> {
    await this.open();
    this.restartIdle();
  }

  /** Opens it ahead of an answer, but only where that asks the user nothing. */
  async warmIfAllowed(): Promise<void> {
    try {
      const status = await navigator.permissions.query({ name: 'microphone' as PermissionName });
      if (status.state === 'granted') await this.warm();
    } catch {
      // Unknown permission name (older browsers) or no microphone: answering will tell.
    }
  }

  /**
   * A stream for one call; the caller gives it back with `release`.
   * @throws DOMException of getUserMedia; TypeError where the page is not secure.
   */
  async acquire(): Promise<MediaStream> {
    this.users += 1;
    clearTimeout(this.idleTimer);
    try {
      const stream = await this.open();
      return new MediaStream(stream.getAudioTracks().map((t) => t.clone()));
    } catch (e) {
      this.users -= 1;
      throw e;
    }
  }

  release(stream: MediaStream): void {
    for (const t of stream.getTracks()) t.stop();
    this.users = Math.max(0, this.users - 1);
    this.restartIdle();
  }

  /** For tests: a sine at this frequency takes the microphone's place; null gives the microphone back. */
  useTone(hz: number | null): void {
    this.toneSource?.osc.stop();
    this.toneSource = undefined;
    this.drop();
    if (hz === null) return;
    const ctx = this.audioContext();
    const osc = ctx.createOscillator();
    const gain = ctx.createGain();
    const out = ctx.createMediaStreamDestination();
    osc.frequency.value = hz;
    gain.gain.value = 0.3;
    osc.connect(gain).connect(out);
    osc.start();
    this.toneSource = { osc, stream: out.stream };
  }

  private open(): Promise<MediaStream> {
    if (this.toneSource) return Promise.resolve(this.toneSource.stream);
    if (this.base) return this.base;
    const opening = this.request();
    this.base = opening;
    opening.then(
      (stream) => {
        // Unplugged: the next call asks again.
        for (const t of stream.getTracks())
          t.addEventListener('ended', () => this.base === opening && this.drop());
      },
      () => {
        if (this.base === opening) this.base = undefined;
      },
    );
    return opening;
  }

  private async request(): Promise<MediaStream> {
    if (!navigator.mediaDevices?.getUserMedia) throw new TypeError('no mediaDevices');
    return navigator.mediaDevices.getUserMedia({
      audio: {
        echoCancellation: this.processing,
        noiseSuppression: this.processing,
        autoGainControl: this.processing,
      },
      video: false,
    });
  }

  private restartIdle(): void {
    clearTimeout(this.idleTimer);
    if (this.users > 0) return;
    this.idleTimer = setTimeout(() => this.drop(), KEEP_MS);
  }

  private drop(): void {
    const base = this.base;
    this.base = undefined;
    base?.then(
      (s) => {
        for (const t of s.getTracks()) t.stop();
      },
      () => {},
    );
  }
}
