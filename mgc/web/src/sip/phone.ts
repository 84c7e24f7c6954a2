import * as JsSIP from 'jssip';
import type {
  IncomingMessageEvent,
  IncomingRTCSessionEvent,
  OutgoingMessageEvent,
  OutgoingRTCSessionEvent,
  UA,
} from 'jssip/lib/UA';
import { type Account, friendly, parseIdentity, type SipIdentity } from '../core/account';
import type { PhoneConfig } from '../core/config';
import { Emitter } from '../core/emitter';
import type { AudioBench } from '../media/audio';
import type { Microphone } from '../media/microphone';
import { Call } from './call';
import { Farewells } from './farewells';
import { explainMicrophone, explainRegistration, explainSocket, type Failure, refusalOf } from './failure';
import { IceServers } from './iceservers';
import { Ladder, type LadderEntry, parseSip } from './ladder';
import { Messages } from './messages';
import { type Closed, TapSocket } from './socket';

/** More calls than this at once are answered 486. */
const MAX_CALLS = 4;

/** Longest wait for an old registration to be removed before the next begins, ms. */
const GOODBYE_MS = 1000;

/** A connection so new is in no doubt: calls are on their way back over it, ms. */
const NEW_MS = 2000;

/**
 * How often the connection is asked for a sign of life during calls, ms, and how long that may take. Media may survive a change of the network that
 * the connection does not; the next request, a BYE say, must not be the first to find that out.
 */
const ASK_MS = 2500;
const ANSWER_MS = 1000;

export type RegState = 'offline' | 'connecting' | 'registering' | 'registered' | 'reconnecting' | 'failed';

export interface PhoneEvents {
  registration: undefined;
  /** A call began, ended or became the active one. */
  calls: undefined;
  /** One call changed. */
  call: Call;
  sample: Call;
  /** An RFC 4733 tone began to be sent. */
  tone: { call: Call; tone: string };
  /** Something the user should read now. */
  trouble: Failure;
  /** The browser keeps sound back until the page is touched. */
  blocked: undefined;
  sip: LadderEntry;
}

/** A problem that is explained in words. */
export class PhoneError extends Error {
  constructor(readonly failure: Failure) {
    super(`${failure.title}: ${failure.detail}`);
  }
}

/** The phone: one account, its connection and registration, its calls and texts. */
export class Phone extends Emitter<PhoneEvents> {
  state: RegState = 'offline';
  failure: Failure | undefined;
  identity: SipIdentity | undefined;
  /** Live calls and the last ended one of each, oldest first. */
  calls: Call[] = [];
  activeId: string | undefined;
  readonly ladder = new Ladder();
  readonly messages = new Messages();
  private readonly farewells = new Farewells();
  private ua: UA | undefined;
  private socket: TapSocket | undefined;
  private account: Account | undefined;
  private readonly ice: IceServers;
  private callCount = 0;
  private checking = false;
  /** The connection was replaced: calls have to find their way anew as soon as the new one is registered. */
  private renewed = false;
  private renewedAt = Number.NEGATIVE_INFINITY;
  private retryTimer: ReturnType<typeof setTimeout> | undefined;
  /**
   * Settled when the last registration is gone. The next one waits for it: both have the same instance-id, so that
   * a registrar takes the removal of the old contact for that of the new one (RFC 5626 §6).
   */
  private leaving: Promise<void> = Promise.resolve();

  constructor(
    private readonly config: PhoneConfig,
    private readonly bench: AudioBench,
    private readonly microphone: Microphone,
    private readonly instanceId: string,
  ) {
    super();
    this.ice = new IceServers(config.iceServers, () => this.ua?.isRegistered() && this.ua.register());
    window.addEventListener('online', () => void this.checkConnection());
    setInterval(() => this.live.length > 0 && void this.ask(), ASK_MS);
  }

  get live(): Call[] {
    return this.calls.filter((c) => c.live);
  }

  get active(): Call | undefined {
    return this.calls.find((c) => c.id === this.activeId);
  }

  /** Whether the phone goes on trying to register; false after a refusal or sign-out. */
  get trying(): boolean {
    return this.ua !== undefined;
  }

  call(id: string): Call | undefined {
    return this.calls.find((c) => c.id === id);
  }

  get domain(): string {
    return this.identity?.domain ?? this.config.domain;
  }

  /**
   * Connects and registers; the outcome comes as `registration` events.
   * @throws PhoneError when the account cannot be right
   */
  signIn(account: Account): void {
    const identity = parseIdentity(account.identity, this.config.domain);
    if (!identity)
      throw new PhoneError(
        bad('identity', 'Not a SIP address', 'Write a user name such as alice, or alice@example.org.'),
      );
    this.close();
    let socket: TapSocket;
    try {
      socket = new TapSocket(account.wsUrl, this.tap, (how) => void this.socketClosed(socket, how));
    } catch {
      throw new PhoneError(bad('ws-url', 'Not a WebSocket address', 'It must begin with ws:// or wss://.'));
    }
    this.identity = identity;
    this.account = account;
    this.socket = socket;
    this.microphone.setProcessing(account.processing);
    const ua = new JsSIP.UA({
      sockets: socket as unknown as JsSIP.Socket,
      uri: identity.uri,
      authorization_user: identity.user,
      password: account.password,
      ...(account.token ? { authorization_jwt: `Bearer ${account.token}` } : {}),
      ...(account.displayName ? { display_name: account.displayName } : {}),
      instance_id: this.instanceId,
      register: true,
      register_expires: 600,
      session_timers: account.sessionTimers,
      no_answer_timeout: 120,
      connection_recovery_min_interval: 2,
      connection_recovery_max_interval: 15,
      user_agent: 'Isthmus web phone',
    });
    this.ua = ua;
    this.watch(ua);
    this.setState('connecting');
    void this.leaving.then(() => ua === this.ua && ua.start());
  }

  /** Unregisters, ends all calls and disconnects. */
  signOut(): void {
    this.close();
    this.identity = undefined;
    this.account = undefined;
    this.setState('offline');
  }

  /**
   * Calls `target` ("bob", "sip:bob@example.org", "+4930123"). Other calls go on hold.
   * @throws PhoneError when the target is no address, there is no microphone or no registration
   */
  async dial(target: string): Promise<Call> {
    const dialledAt = performance.now();
    const ua = this.ready();
    const uri = this.targetUri(target);
    if (this.live.length >= MAX_CALLS)
      throw new PhoneError(bad('too-many', 'Too many calls', 'End one of them first.'));
    const mic = await this.openMicrophone();
    return this.begin(dialledAt, mic, (options) => ua.call(uri, options));
  }

  /** Starts a call of ours by `place`, on the microphone stream, which is given back when the call ends. */
  private begin(dialledAt: number, mic: MediaStream, place: (options: object) => void): Call {
    this.holdOthers(undefined);
    const before = this.callCount;
    try {
      place({
        mediaStream: mic,
        mediaConstraints: { audio: true, video: false },
        pcConfig: { iceServers: this.ice.list, bundlePolicy: 'max-bundle' },
      });
    } catch (e) {
      this.microphone.release(mic);
      throw e;
    }
    const call = this.call(`c${before + 1}`);
    if (!call) throw new Error('JsSIP made no call');
    call.metrics.dialledAt = dialledAt;
    call.useMicrophone(mic);
    this.setActive(call.id);
    return call;
  }

  /** Hands the far end of a call on to `target`. @throws PhoneError when that is no address */
  transfer(call: Call, target: string): void {
    call.transferTo(this.targetUri(target));
  }

  /** Connects the far ends of two of our calls with each other: that of `call` is asked to take our place in `other`. */
  connect(call: Call, other: Call): void {
    call.transferTo(other.peerUri, other);
  }

  /** Calls whom the far end of `call` refers us to. @throws PhoneError without a microphone */
  async follow(call: Call): Promise<void> {
    const dialledAt = performance.now();
    if (!call.transfer.asked) return;
    const mic = await this.openMicrophone();
    if (!call.transfer.asked) {
      this.microphone.release(mic);
      return;
    }
    this.begin(dialledAt, mic, (options) => call.transfer.follow(options));
  }

  /** Answers an incoming call; others go on hold. @throws PhoneError without a microphone (the call keeps ringing). */
  async answer(call: Call): Promise<void> {
    if (call.state !== 'incoming') return;
    const mic = await this.openMicrophone();
    if (call.state !== 'incoming') {
      this.microphone.release(mic);
      return;
    }
    this.holdOthers(call.id);
    call.answer(mic);
    this.setActive(call.id);
  }

  /** Makes `call` the one that is talked on: it is resumed, the others are held. */
  resume(call: Call): void {
    this.holdOthers(call.id);
    call.hold.set(false);
    this.setActive(call.id);
  }

  setActive(id: string | undefined): void {
    this.activeId = id;
    this.emit('calls', undefined);
  }

  /** Takes an ended call off the list. */
  dismiss(call: Call): void {
    if (call.live) return;
    this.calls = this.calls.filter((c) => c !== call);
    if (this.activeId === call.id) this.activeId = this.live[0]?.id;
    this.emit('calls', undefined);
  }

  /** Ends every call, as the page goes away; the registration is left to a reload or to expire. */
  hangUpAll(): void {
    for (const c of this.live) c.hangup(480);
  }

  /** Whether the page may make and measure sound. */
  get audioRunning(): boolean {
    return this.bench.running;
  }

  /** Sends a text. @throws PhoneError when the target is no address or there is no registration */
  message(target: string, text: string): void {
    const ua = this.ready();
    this.messages.send(ua, this.targetUri(target), text, this.domain);
  }

  /** Opens the microphone ahead of a call; silent when that fails. */
  async warmMicrophone(): Promise<void> {
    await this.microphone.warm().catch(() => {});
  }

  /** "sip:user@domain" of what a person typed. @throws PhoneError */
  targetUri(target: string): string {
    const typed = target.trim().replace(/^tel:/i, '');
    const number = /^\+?[0-9][0-9 ()./-]*$/.test(typed) ? typed.replace(/[ ()./-]/g, '') : typed;
    const id = parseIdentity(number, this.domain);
    if (!id)
      throw new PhoneError(
        bad(
          'target',
          'Not an address',
          'Write a user name, a number, or a SIP address such as bob@example.org.',
        ),
      );
    return id.uri;
  }

  private ready(): UA {
    if (!this.ua || this.state !== 'registered') {
      throw new PhoneError(
        bad('offline', 'Not connected', 'Sign in first, or wait for the phone to reconnect.'),
      );
    }
    return this.ua;
  }

  private async openMicrophone(): Promise<MediaStream> {
    try {
      return await this.microphone.acquire();
    } catch (e) {
      throw new PhoneError(
        explainMicrophone(e instanceof Error ? e.name : String(e), window.isSecureContext),
      );
    }
  }

  private holdOthers(except: string | undefined): void {
    for (const c of this.live) {
      if (c.id !== except && c.connected && !c.transfer.replaced) c.hold.set(true);
    }
  }

  private watch(ua: UA): void {
    // A UA that was replaced may still report its last breath.
    const mine = (fn: () => void) => ua === this.ua && fn();
    ua.on('connected', () => mine(() => this.setState('registering')));
    ua.on('registered', (e) =>
      mine(() => {
        this.socket?.keepAlive(Number(e.response.getHeader('Flow-Timer')) || undefined);
        this.setState('registered');
        if (this.renewed) this.goOn();
        this.renewed = false;
      }),
    );
    ua.on('unregistered', () => mine(() => this.state === 'registered' && this.setState('reconnecting')));
    ua.on('registrationFailed', (e) => mine(() => this.registrationFailed(ua, e.response, e.cause)));
    ua.on('newRTCSession', (e: IncomingRTCSessionEvent | OutgoingRTCSessionEvent) => this.adopt(e));
    ua.on('newMessage', (e: IncomingMessageEvent | OutgoingMessageEvent) => {
      if (isIncoming(e)) this.messages.receive(e, this.domain);
    });
  }

  private registrationFailed(ua: UA, response: unknown, cause: string | undefined): void {
    // Without a connection the socket's own report says more.
    if (cause === 'Connection Error') return;
    const refusal = refusalOf(response, cause);
    const failure = explainRegistration(refusal);
    if (failure.code === 'auth' || failure.code === 'unknown-user') {
      this.close();
      this.setState('failed', failure);
      return;
    }
    this.setState('failed', failure);
    clearTimeout(this.retryTimer);
    this.retryTimer = setTimeout(
      () => ua === this.ua && ua.isConnected() && ua.register(),
      (refusal.retryAfter ?? 15) * 1000,
    );
  }

  /** Asks the connection for a sign of life, and replaces it when none comes. */
  private async ask(): Promise<void> {
    const { socket } = this;
    if (!socket || this.checking) return;
    if (!(await socket.answers(ANSWER_MS)) && socket === this.socket) await this.checkConnection();
  }

  /** Goes on over a connection that has replaced another. */
  private goOn(): void {
    for (const c of this.live) c.recovery.networkChanged();
    for (const bye of this.farewells.unanswered(performance.now())) this.socket?.send(bye);
  }

  /** Replaces the connection when it does not answer any more. */
  private async checkConnection(): Promise<void> {
    const { socket } = this;
    if (!socket || this.checking || performance.now() - this.renewedAt < NEW_MS) return;
    this.checking = true;
    await socket.renew(() => {
      this.renewed = true;
      this.renewedAt = performance.now();
    });
    this.checking = false;
  }

  private async socketClosed(socket: TapSocket, how: Closed): Promise<void> {
    if (socket !== this.socket) return;
    const hostReachable = how.wasOpen ? undefined : await probeHost(socket.url);
    if (socket !== this.socket || socket.isConnected()) return;
    const failure = explainSocket({
      url: socket.url,
      pageProtocol: location.protocol,
      wasOpen: how.wasOpen,
      closeCode: how.code,
      hostReachable,
    });
    this.setState('reconnecting', failure);
  }

  private adopt(e: IncomingRTCSessionEvent | OutgoingRTCSessionEvent): void {
    const incoming = String(e.originator) === 'remote';
    const replaced = incoming ? this.live.find((c) => c.transfer.replaced) : undefined;
    if (incoming && !replaced && this.live.length >= MAX_CALLS) {
      e.session.terminate({ status_code: 486 });
      return;
    }
    this.callCount += 1;
    const uri = e.session.remote_identity.uri.toString();
    const call = new Call(
      e.session,
      {
        id: `c${this.callCount}`,
        // JsSIP has it on both kinds of request; its types know it on neither.
        callId: (e.request as unknown as { call_id: string }).call_id,
        direction: incoming ? 'in' : 'out',
        peerUri: uri,
        peer: (incoming && e.session.remote_identity.display_name) || friendly(uri, this.domain),
        codec: this.account?.codec ?? 'auto',
        iceServers: this.ice.list,
        online: () => this.state === 'registered' && !this.checking && (this.socket?.isConnected() ?? false),
        doubt: () => void this.checkConnection(),
      },
      this.bench,
      (mic) => this.microphone.release(mic),
    );
    if (incoming) {
      call.metrics.inviteReceivedAt = performance.now();
      void this.microphone.warmIfAllowed();
    }
    call.on('change', () => this.emit('call', call));
    call.on('sample', () => this.emit('sample', call));
    call.on('trouble', (f) => this.emit('trouble', f));
    call.on('tone', (tone) => this.emit('tone', { call, tone }));
    call.on('blocked', () => this.emit('blocked', undefined));
    call.on('ended', () => this.callEnded(call));
    // An ended call stays until something new takes its place.
    this.calls = [...this.calls.filter((c) => c.live), call];
    if (!this.active?.live) this.activeId = call.id;
    this.emit('calls', undefined);
    // It takes the place of a call that is talked on: nobody has to answer it.
    if (replaced) void this.answer(call).catch(() => call.hangup(480));
  }

  private callEnded(call: Call): void {
    if (this.activeId === call.id) {
      const next = this.live.find((c) => c.state !== 'incoming') ?? this.live[0];
      if (next) this.activeId = next.id;
    }
    this.emit('calls', undefined);
  }

  private readonly tap = (direction: 'out' | 'in', text: string, t: number): void => {
    if (direction === 'in') this.ice.take(text);
    const entry = this.ladder.add(direction, text, t);
    if (direction === 'in') this.farewells.received(entry);
    else if (this.farewells.sent(entry, text, t)) void this.ask();
    const call = this.calls.find((c) => c.callId === entry.callId);
    if (call) stamp(call, direction, text, t);
    this.emit('sip', entry);
  };

  private setState(state: RegState, failure?: Failure): void {
    this.state = state;
    // "Registering" after a failure keeps the words until there is news.
    this.failure = failure ?? (state === 'connecting' || state === 'registering' ? this.failure : undefined);
    this.emit('registration', undefined);
  }

  private close(): void {
    clearTimeout(this.retryTimer);
    this.ice.clear();
    const { ua } = this;
    this.ua = undefined;
    this.socket = undefined;
    this.failure = undefined;
    if (ua?.isRegistered()) {
      this.leaving = new Promise((resolve) => {
        ua.on('unregistered', () => resolve());
        setTimeout(resolve, GOODBYE_MS);
      });
    }
    ua?.stop();
  }
}

/** Notes the moments of a call that only the wire knows. */
function stamp(call: Call, direction: 'out' | 'in', text: string, t: number): void {
  const { method, status } = parseSip(text);
  if (method !== 'INVITE') return;
  const m = call.metrics;
  if (status === 0 && direction === 'out' && call.direction === 'out') m.inviteSentAt ??= t;
  if (status === 0 && direction === 'in' && call.direction === 'in')
    m.inviteReceivedAt = m.inviteReceivedAt ?? t;
  if ((status === 180 || status === 183) && direction === 'in') m.ringingAt ??= t;
  if (status >= 200 && status < 300 && direction === 'in' && call.direction === 'out') m.answeredAt ??= t;
  if (status >= 200 && status < 300 && direction === 'out' && call.direction === 'in') m.answerSentAt ??= t;
}

/** JsSIP's types declare the originators as an enum that does not exist at run time. */
function isIncoming(e: IncomingMessageEvent | OutgoingMessageEvent): e is IncomingMessageEvent {
  return String(e.originator) === 'remote';
}

/**
 * Whether plain HTTP reaches the WebSocket's host: tells a dead host from a
 * refused upgrade. Undefined for another host than the page's, where the page's
 * own Content-Security-Policy would answer instead.
 */
async function probeHost(wsUrl: string): Promise<boolean | undefined> {
  const url = new URL(wsUrl.replace(/^ws/i, 'http'));
  if (url.host !== location.host) return undefined;
  try {
    await fetch(url.origin, { mode: 'no-cors', cache: 'no-store', signal: AbortSignal.timeout(2500) });
    return true;
  } catch {
    return false;
  }
}

function bad(code: string, title: string, detail: string): Failure {
  return { code, title, detail, status: 0 };
}
