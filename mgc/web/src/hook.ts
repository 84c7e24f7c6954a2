import type { Account } from './core/account';
import type { Microphone } from './media/microphone';
import type { Sample } from './media/stats';
import type { Tone } from './media/tone';
import type { Call, CallMetrics } from './sip/call';
import type { LadderEntry } from './sip/ladder';
import type { Phone } from './sip/phone';

/** A call as tests see it. */
export interface CallView {
  id: string;
  callId: string;
  direction: 'in' | 'out';
  state: string;
  peer: string;
  uri: string;
  muted: boolean;
  localHold: boolean;
  remoteHold: boolean;
  active: boolean;
  /** A transfer that we asked for: none, asked, trying, done, failed. */
  transfer: string;
  /** SIP URI of whom the far end wants us to call. */
  referredTo: string | null;
  /** Why it ended, when that was no ordinary end. */
  failure: { code: string; status: number; title: string; detail: string } | null;
  endTitle: string;
  endText: string;
  iceState: string;
  /** ICE restarts that the phone has offered. */
  restarts: number;
}

/** Something that happened, in order. `t`: `performance.now()` ms. */
export interface HookEvent {
  t: number;
  kind: 'registration' | 'call' | 'sip' | 'message' | 'tone' | 'trouble' | 'sound-blocked';
  detail: Record<string, unknown>;
}

const MAX_EVENTS = 2000;

/**
 * `window.isthmus`: the phone for browser automation. Stable: names and shapes
 * here change only with a note in the changelog. All times are
 * `performance.now()` in ms. Ids are those of `calls()`. Functions that start
 * something reject or throw with a readable message when it cannot start.
 */
export interface IsthmusHook {
  /** Signs in; resolves when registered, rejects when refused or after 15 s. */
  register(opts: Partial<Account>): Promise<void>;
  unregister(): void;
  /** Starts a call; resolves with its id once the INVITE is on its way to be sent. */
  dial(target: string): Promise<string>;
  answer(id: string): Promise<void>;
  /** Refuses an incoming call (default 603). */
  reject(id: string, status?: 486 | 480 | 603): void;
  hangup(id: string): void;
  hold(id: string): void;
  /** Resumes this call and holds the others. */
  resume(id: string): void;
  /** Acts as when the network has changed: an ICE restart in a re-INVITE. */
  restartIce(id: string): void;
  /** Hands the far end on to `target` (REFER). */
  transfer(id: string, target: string): void;
  /** Connects the far ends of two calls with each other (REFER with Replaces). */
  connect(id: string, other: string): void;
  /** Calls whom the far end of the call refers us to; resolves when the INVITE is on its way to be sent. */
  follow(id: string): Promise<void>;
  /** Declines a referral. */
  stay(id: string): void;
  mute(id: string, on: boolean): void;
  dtmf(id: string, tones: string): void;
  message(target: string, text: string): void;
  /** All texts: {peer, direction, text, status}. */
  messages(): { peer: string; uri: string; direction: 'in' | 'out'; text: string; status: string }[];
  calls(): CallView[];
  state(): {
    registration: string;
    failure: { code: string; title: string; detail: string; status: number } | null;
    uri: string | null;
    active: string | null;
    audioRunning: boolean;
  };
  /** The last sample with codec, candidates and totals; null before the first. */
  lastStats(id: string): (Sample & Record<string, unknown>) | null;
  /** Moments of the call; `inviteToAudioMs` when both are known. */
  metrics(id: string): CallMetrics & { inviteToAudioMs?: number };
  /** Dominant frequency of what is heard. */
  remoteTone(id: string): Tone;
  /** Dominant frequency of what is sent. */
  localTone(id: string): Tone;
  /** Replaces the microphone of later calls by a sine; null undoes it. */
  setMicTone(hz: number | null): void;
  /** The SIP messages of the page, oldest first, the last 400, credentials blanked. */
  ladder(): Pick<LadderEntry, 'direction' | 'method' | 'status' | 'callId' | 'text'>[];
  /** Newest last; the oldest fall out beyond 2000. */
  events: HookEvent[];
}

/** Builds the hook and starts recording events. */
export function makeHook(
  phone: Phone,
  microphone: Microphone,
  defaults: () => Account,
  signIn: (a: Account) => void,
  signOut: () => void,
): IsthmusHook {
  const events: HookEvent[] = [];
  const note = (kind: HookEvent['kind'], detail: Record<string, unknown>) => {
    events.push({ t: performance.now(), kind, detail });
    if (events.length > MAX_EVENTS) events.shift();
  };
  phone.on('registration', () =>
    note('registration', { state: phone.state, failure: phone.failure?.code ?? null }),
  );
  phone.on('call', (c) => note('call', { ...view(c) }));
  phone.on('sip', (e) =>
    note('sip', {
      direction: e.direction,
      title: e.title,
      method: e.method,
      status: e.status,
      callId: e.callId,
      at: e.t,
    }),
  );
  phone.on('tone', ({ call, tone }) => note('tone', { id: call.id, tone }));
  phone.on('trouble', (f) => note('trouble', { code: f.code, title: f.title }));
  phone.on('blocked', () => note('sound-blocked', {}));
  phone.messages.on('received', (m) => note('message', { ...m }));

  const view = (c: Call): CallView => ({
    id: c.id,
    callId: c.callId,
    direction: c.direction,
    state: c.state,
    peer: c.peer,
    uri: c.peerUri,
    muted: c.muted,
    localHold: c.hold.local,
    remoteHold: c.hold.remote,
    active: phone.activeId === c.id,
    transfer: c.transfer.state,
    referredTo: c.transfer.asked?.uri ?? null,
    failure: c.failure
      ? { code: c.failure.code, status: c.failure.status, title: c.failure.title, detail: c.failure.detail }
      : null,
    endTitle: c.endTitle,
    endText: c.endText,
    iceState: c.iceState,
    restarts: c.recovery.offered,
  });
  const get = (id: string): Call => {
    const c = phone.call(id);
    if (!c) throw new Error(`no call ${id}`);
    return c;
  };

  return {
    events,
    register: (opts) => {
      const settled = registered(phone);
      signIn({ ...defaults(), ...opts });
      return settled;
    },
    unregister: signOut,
    dial: async (target) => (await phone.dial(target)).id,
    answer: (id) => phone.answer(get(id)),
    reject: (id, status) => get(id).hangup(status ?? 603),
    hangup: (id) => get(id).hangup(),
    hold: (id) => get(id).hold.set(true),
    resume: (id) => phone.resume(get(id)),
    restartIce: (id) => get(id).recovery.networkChanged(),
    transfer: (id, target) => phone.transfer(get(id), target),
    connect: (id, other) => phone.connect(get(id), get(other)),
    follow: (id) => phone.follow(get(id)),
    stay: (id) => get(id).transfer.stay(),
    mute: (id, on) => get(id).setMuted(on),
    dtmf: (id, tones) => get(id).dtmf(tones),
    message: (target, text) => phone.message(target, text),
    messages: () =>
      phone.messages.conversations.flatMap((c) =>
        c.texts.map((t) => ({
          peer: c.peer,
          uri: c.uri,
          direction: t.direction,
          text: t.text,
          status: t.status,
        })),
      ),
    calls: () => phone.calls.map(view),
    state: () => ({
      registration: phone.state,
      failure: phone.failure
        ? {
            code: phone.failure.code,
            title: phone.failure.title,
            detail: phone.failure.detail,
            status: phone.failure.status,
          }
        : null,
      uri: phone.identity?.uri ?? null,
      active: phone.activeId ?? null,
      audioRunning: phone.audioRunning,
    }),
    lastStats: (id) => {
      const m = get(id).media;
      const sample = m?.samples.at(-1);
      return m && sample ? { ...sample, ...m.facts, totals: m.totals } : null;
    },
    metrics: (id) => {
      const m = get(id).metrics;
      const both = m.inviteSentAt !== undefined && m.firstAudioAt !== undefined;
      return both
        ? { ...m, inviteToAudioMs: (m.firstAudioAt as number) - (m.inviteSentAt as number) }
        : { ...m };
    },
    remoteTone: (id) =>
      get(id).media?.remoteTone() ?? { hz: 0, db: Number.NEGATIVE_INFINITY, rmsDb: Number.NEGATIVE_INFINITY },
    localTone: (id) =>
      get(id).media?.localTone() ?? { hz: 0, db: Number.NEGATIVE_INFINITY, rmsDb: Number.NEGATIVE_INFINITY },
    ladder: () =>
      phone.ladder
        .list()
        .map(({ direction, method, status, callId, text }) => ({ direction, method, status, callId, text })),
    setMicTone: (hz) => microphone.useTone(hz),
  };
}

/** Resolves at the next registration, rejects at the next refusal. */
function registered(phone: Phone, timeoutMs = 15_000): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (fn: () => void) => {
      off();
      clearTimeout(timer);
      fn();
    };
    const off = phone.on('registration', () => {
      if (phone.state === 'registered') settle(resolve);
      else if (phone.state === 'failed')
        settle(() =>
          reject(new Error(phone.failure ? `${phone.failure.title}: ${phone.failure.detail}` : 'refused')),
        );
    });
    const timer = setTimeout(
      () =>
        settle(() =>
          reject(
            new Error(
              `not registered after ${timeoutMs} ms${phone.failure ? `: ${phone.failure.title}` : ''}`,
            ),
          ),
        ),
      timeoutMs,
    );
  });
}
