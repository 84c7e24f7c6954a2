/**
 * Reports the first audio above a threshold, from inside the render thread:
 * one render quantum (128 frames, 2.7 ms at 48 kHz) is the resolution.
 * The time is the wall clock, as worklets have no `performance`.
 */
declare abstract class AudioWorkletProcessor {
  readonly port: MessagePort;
  constructor(options?: { processorOptions?: { thresholdDb: number } });
}
declare function registerProcessor(name: string, ctor: unknown): void;

class Onset extends AudioWorkletProcessor {
  private readonly power: number;

  constructor(options: { processorOptions: { thresholdDb: number } }) {
    super(options as never);
    this.power = 10 ** (options.processorOptions.thresholdDb / 10);
  }

  /** Returns false once the onset was reported: the node is done then. */
  process(inputs: Float32Array[][]): boolean {
    const channel = inputs[0]?.[0];
    if (!channel) return true;
    let sum = 0;
    for (let i = 0; i < channel.length; i++) sum += (channel[i] as number) ** 2;
    if (sum / channel.length < this.power) return true;
    this.port.postMessage({ wallClockMs: Date.now() });
    return false;
  }
}

registerProcessor('isthmus-onset', Onset);
