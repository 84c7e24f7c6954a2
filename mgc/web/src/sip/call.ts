import type { EndEvent, RTCSession } from 'jssip/lib/RTCSession';
import type { CodecChoice } from '../core/account';
import { Emitter } from '../core/emitter';
import type { AudioBench } from '../media/audio';
import { CallMedia } from './callmedia';
import { explainCall, explainRelease, type Failure, refusalOf } from './failure';
import { Hold } from './hold';
import { Recovery } from './recovery';
import { Transfer } from './transfer';

export type CallState = 'starting' | 'calling' | 'ringing' | 'incoming' | 'answering' | 'connected' | 'ended';

/** Moments of a call, `performance.now()` in ms. Absent: did not happen (yet). */
export interface CallMetrics {
  /** The user asked for the call. */
  dialledAt?: number;
  /** Our INVITE was written to the WebSocket (the first, if a challenge made us repeat it). */
  inviteSentAt?: number;
  /** The far end's INVITE was read from the WebSocket. */
  inviteReceivedAt?: number;
  /** First 180 or 183 read. */
  ringingAt?: number;
  /** Our 200 to the INVITE was written. */
  answerSentAt?: number;
  /** The 200 to our INVITE was read. */
  answeredAt?: number;
  iceConnectedAt?: number;
  /** ICE and DTLS done. */
  dtlsConnectedAt?: number;
  /** First remote audio above -50 dBFS was rendered. */
  firstAudioAt?: number;
  endedAt?: number;
}

export interface CallEvents {
  change: undefined;
  sample: undefined;
  ended: undefined;
  blocked: undefined;
  trouble: Failure;
  /** An RFC 4733 tone began to be sent. */
  tone: string;
}

export interface CallSetup {
  id: string;
  callId: string;
  direction: 'in' | 'out';
  /** SIP URI of the far end. */
  peerUri: string;
  /** How to show the far end. */
  peer: string;
  codec: CodecChoice;
  iceServers: RTCIceServer[];
  /** Whether a request can be sent now. */
  online: () => boolean;
  /** Media has stopped: does the connection still stand? */
  doubt: () => void;
}

/** One call: a JsSIP dialog with its media. Made by Phone, over after `ended`. */
export class Call extends Emitter<CallEvents> {
  readonly id: string;
  readonly callId: string;
  readonly direction: 'in' | 'out';
  readonly peer: string;
  readonly peerUri: string;
  readonly metrics: CallMetrics = {};
  state: CallState;
  muted = false;
  failure: Failure | undefined;
  /** A few words for how the call ended. */
  endTitle = '';
  /** A sentence for how an ordinary call ended. */
  endText = '';
  iceState: RTCIceConnectionState = 'new';
  media: CallMedia | undefined;
  readonly hold: Hold;
  readonly transfer: Transfer;
  readonly recovery: Recovery;
  private mic: MediaStream | undefined;
  /** We hung up, cancelled or declined. */
  endedByUs = false;
  private toneSender: RTCDTMFSender | undefined;

  constructor(
    private readonly session: RTCSession,
    private readonly setup: CallSetup,
    private readonly bench: AudioBench,
    private readonly giveBack: (mic: MediaStream) => void,
  ) {
    super();
    this.id = setup.id;
    this.callId = setup.callId;
    this.direction = setup.direction;
    this.peer = setup.peer;
    this.peerUri = setup.peerUri;
    this.state = setup.direction === 'in' ? 'incoming' : 'starting';
    this.hold = new Hold(
      session,
      {
        changed: () => this.holdChanged(),
        refused: (f) => this.emit('trouble', f),
      },
      setup.online,
    );
    this.transfer = new Transfer(session, {
      changed: () => this.emit('change', undefined),
      refused: (f) => this.emit('trouble', f),
      done: () => this.hangup(),
    });
    this.recovery = new Recovery(session, setup.online, setup.doubt);
    if (session.connection) this.attach(session.connection);
    this.listen();
  }

  get live(): boolean {
    return this.state !== 'ended';
  }

  get connected(): boolean {
    return this.state === 'connected';
  }

  /** Takes over a microphone stream (given back when the call ends). */
  useMicrophone(mic: MediaStream): void {
    this.mic = mic;
    this.media?.probeLocal(mic);
  }

  answer(mic: MediaStream): void {
    this.mic = mic;
    this.setState('answering');
    this.session.answer({
      mediaStream: mic,
      mediaConstraints: { audio: true, video: false },
      pcConfig: { iceServers: this.setup.iceServers, bundlePolicy: 'max-bundle' },
    });
  }

  /** Ends the call in whatever state: CANCEL, reject with 486/603, or BYE. */
  hangup(status?: 486 | 480 | 603): void {
    if (!this.live) return;
    this.endedByUs = true;
    const rejecting = this.state === 'incoming' || this.state === 'answering';
    this.session.terminate(rejecting ? { status_code: status ?? 603 } : {});
  }

  /** Asks the far end to call `uri` instead, or to take the place of `consultation` in the call with its far end. */
  transferTo(uri: string, consultation?: Call): void {
    if (this.connected) this.transfer.ask(uri, consultation?.session);
  }

  setMuted(on: boolean): void {
    if (!this.live || this.state === 'incoming') return;
    if (on) this.session.mute({ audio: true });
    else this.session.unmute({ audio: true });
    this.muted = on;
    this.emit('change', undefined);
  }

  /**
   * Sends tones as RFC 4733 events, or as INFO when telephone-event was not agreed.
   * @throws TypeError for characters other than 0-9 A-D * # and comma
   */
  dtmf(tones: string): void {
    if (!/^[0-9A-D*#,]+$/i.test(tones)) throw new TypeError(`not DTMF: ${tones}`);
    if (this.state !== 'connected' && this.state !== 'ringing') return;
    const transportType = this.telephoneEvent() ? 'RFC2833' : 'INFO';
    this.session.sendDTMF(tones.toUpperCase(), {
      transportType: transportType as never,
      duration: 120,
      interToneGap: 80,
    });
  }

  private telephoneEvent(): boolean {
    const sender = this.session.connection?.getSenders().find((s) => s.track?.kind === 'audio');
    if (!sender?.dtmf?.canInsertDTMF) return false;
    this.watchTones(sender.dtmf);
    const { codecs } = sender.getParameters();
    return codecs.some((c) => /telephone-event/i.test(c.mimeType));
  }

  private watchTones(dtmf: RTCDTMFSender): void {
    if (this.toneSender === dtmf) return;
    this.toneSender = dtmf;
    // An empty tone marks the end of the queue.
    dtmf.addEventListener('tonechange', (e) => e.tone && this.emit('tone', e.tone));
  }

  private attach(pc: RTCPeerConnection): void {
    this.media = new CallMedia(pc, this.bench, {
      firstAudio: (t) => {
        this.metrics.firstAudioAt ??= t;
        this.emit('change', undefined);
      },
      ice: (state) => {
        this.iceState = state;
        if (state === 'connected' || state === 'completed') this.metrics.iceConnectedAt ??= performance.now();
        this.recovery.ice(state);
        this.emit('change', undefined);
      },
      connection: (state) => {
        if (state === 'connected') this.metrics.dtlsConnectedAt ??= performance.now();
      },
      sample: () => this.emit('sample', undefined),
      blocked: () => this.emit('blocked', undefined),
    });
    if (this.mic) this.media.probeLocal(this.mic);
    this.recovery.watch(() => newest(pc));
  }

  private listen(): void {
    const s = this.session;
    s.on('peerconnection', (e) => this.attach(e.peerconnection));
    // Fires when the tracks are in place and before the offer or answer is made.
    s.on('connecting', () => preferCodec(s.connection, this.setup.codec));
    s.on('icecandidate', (e) => e.ready());
    s.on('sending', () => this.setState('calling'));
    s.on('progress', () => this.direction === 'out' && this.setState('ringing'));
    s.on('accepted', () => this.direction === 'out' && this.setState('connected'));
    s.on('confirmed', () => this.setState('connected'));
    s.on('ended', (e) => this.finish(e));
    s.on('failed', (e) => this.finish(e));
  }

  private holdChanged(): void {
    this.media?.silence(this.hold.local);
    this.emit('change', undefined);
  }

  private setState(state: CallState): void {
    if (!this.live || this.state === state) return;
    this.state = state;
    this.emit('change', undefined);
  }

  private finish(e: EndEvent): void {
    if (!this.live) return;
    const wasConnected = this.state === 'connected';
    this.state = 'ended';
    this.metrics.endedAt = performance.now();
    this.hold.close();
    this.recovery.close();
    this.media?.close();
    if (this.mic) this.giveBack(this.mic);
    this.mic = undefined;
    this.describeEnd(e, wasConnected);
    this.emit('ended', undefined);
    this.emit('change', undefined);
  }

  private describeEnd(e: EndEvent, wasConnected: boolean): void {
    const incoming = this.direction === 'in';
    this.endTitle = 'Call ended';
    if (this.endedByUs) {
      if (this.transfer.state === 'done') {
        this.endTitle = 'Call transferred';
        this.endText = `${this.peer} talks to somebody else now.`;
        return;
      }
      if (this.transfer.replaced) {
        this.endText = 'Another call took its place.';
        return;
      }
      if (!wasConnected) this.endTitle = incoming ? 'Call declined' : 'Call cancelled';
      this.endText = wasConnected ? 'You ended the call.' : `You ${incoming ? 'declined' : 'cancelled'} it.`;
      return;
    }
    if (e.cause === 'Terminated' || (incoming && e.cause === 'Canceled')) {
      this.failure = explainRelease(e.message?.getHeader?.('Reason'));
      if (!wasConnected) this.endTitle = 'Missed call';
      this.endText = wasConnected ? `${this.peer} ended the call.` : `${this.peer} called.`;
    } else {
      this.failure = explainCall(refusalOf(e.message, e.cause, this.peer));
      this.endText = this.failure.detail;
    }
    this.endTitle = this.failure?.title ?? this.endTitle;
  }
}

/** When the newest packet of audio came, ms since the epoch. */
function newest(pc: RTCPeerConnection): number | undefined {
  const times = pc.getReceivers().flatMap((r) => r.getSynchronizationSources().map((s) => s.timestamp));
  return times.length > 0 ? Math.max(...times) : undefined;
}

/** Puts the chosen codec first; the rest stays behind it, so that a call is always possible. */
function preferCodec(pc: RTCPeerConnection | undefined, choice: CodecChoice): void {
  if (!pc || choice === 'auto') return;
  const mime = `audio/${choice}`;
  const all = RTCRtpReceiver.getCapabilities('audio')?.codecs ?? [];
  const order = [
    ...all.filter((c) => c.mimeType.toLowerCase() === mime),
    ...all.filter((c) => c.mimeType.toLowerCase() !== mime),
  ];
  for (const t of pc.getTransceivers()) {
    if (t.receiver.track.kind !== 'audio') continue;
    try {
      t.setCodecPreferences(order);
    } catch {
      // A preference only: the browser's own order does as well.
    }
  }
}
