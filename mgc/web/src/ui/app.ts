import { type Account, friendly } from '../core/account';
import { defaultWsUrl, type PhoneConfig } from '../core/config';
import type { Store } from '../core/storage';
import type { AudioBench } from '../media/audio';
import { type Ring, Ringer } from '../media/ringer';
import type { Call } from '../sip/call';
import type { Failure } from '../sip/failure';
import { type Phone, PhoneError } from '../sip/phone';
import { callList, incomingBars, quickDial } from './calllist';
import { CallView } from './callview';
import { fill, h, setText, toggle } from './dom';
import { helpDialog } from './help';
import { icon } from './icons';
import { dialer } from './keypad';
import { ladderView } from './ladderview';
import { mark } from './mark';
import { messagesView } from './messagesview';
import { shortcuts } from './shortcuts';
import { signIn } from './signin';
import { Tabs } from './tabs';
import { callStateText, registrationText } from './text';
import { themeButton } from './theme';
import { Toasts } from './toasts';

/** The page: sign-in or phone, bound to the Phone's events. */
export class App {
  private readonly toasts = new Toasts();
  private readonly announcer = h('div', { class: 'sr-only', role: 'status', 'aria-live': 'polite' });
  private readonly pill = h('span', { class: 'pill' });
  private readonly who = h('span', { class: 'who' });
  private readonly notice = h('div', { class: 'notice', role: 'alert', hidden: true });
  private readonly soundButton: HTMLElement;
  private readonly header: HTMLElement;
  private readonly body: HTMLElement;
  private readonly ringer: Ringer;
  private readonly stage: CallView;
  private readonly list: ReturnType<typeof callList>;
  private readonly incoming: ReturnType<typeof incomingBars>;
  private readonly quick: ReturnType<typeof quickDial>;
  private readonly dial: ReturnType<typeof dialer>;
  private readonly ladder: ReturnType<typeof ladderView>;
  private readonly texts: ReturnType<typeof messagesView>;
  private readonly form: ReturnType<typeof signIn>;
  private readonly tabs: Tabs;
  private readonly help: ReturnType<typeof helpDialog>;
  private signedIn = false;

  constructor(
    private readonly root: HTMLElement,
    private readonly phone: Phone,
    private readonly config: PhoneConfig,
    private readonly store: Store,
    private readonly bench: AudioBench,
  ) {
    this.ringer = new Ringer(() => bench.ctx);
    this.form = signIn(
      config,
      (a) => this.submit(a),
      () => this.leave(),
    );
    this.stage = new CallView(this.callActions(), this.idleStage());
    this.list = callList(
      (c) => phone.setActive(c.id),
      (c) => phone.resume(c),
      (c) => c.hangup(),
    );
    this.incoming = incomingBars(
      (c) => void this.attempt(() => phone.answer(c)),
      (c) => c.hangup(486),
    );
    this.quick = quickDial(
      config,
      (t) => void this.callTo(t),
      (uri) => friendly(uri, phone.domain),
    );
    this.dial = dialer(
      (t) => void this.callTo(t),
      () => void phone.warmMicrophone(),
    );
    this.ladder = ladderView(phone.ladder);
    this.texts = messagesView(
      phone.messages,
      (to, text) => this.attemptNow(() => phone.message(to, text)),
      (to) => this.conversation(to),
    );
    this.help = helpDialog(store);
    this.soundButton = h(
      'button',
      { type: 'button', class: 'notice-action', hidden: true, onclick: () => void this.unblockSound() },
      icon('sound'),
      'Sound is blocked: press to hear the call',
    );
    this.tabs = new Tabs(
      [
        {
          id: 'dial',
          label: 'Phone',
          icon: 'phone',
          el: h('div', { class: 'col col-dial' }, this.dial.el, this.quick.el),
        },
        {
          id: 'call',
          label: 'Call',
          icon: 'mic',
          el: h('div', { class: 'col col-call' }, this.list.el, this.stage.el),
        },
        {
          id: 'texts',
          label: 'Messages',
          icon: 'chat',
          el: h('div', { class: 'col col-texts' }, this.texts.el),
        },
        { id: 'sip', label: 'SIP', icon: 'ladder', el: h('div', { class: 'col col-sip' }, this.ladder.el) },
      ],
      (id) => {
        this.texts.shown();
        if (id === 'texts') this.toasts.clear('message');
      },
    );
    this.header = this.makeHeader();
    this.body = h('main', { class: 'phone' }, ...this.tabs.panels);
    this.listen();
    this.installKeys();
    root.append(this.announcer, this.toasts.el);
    this.render();
  }

  /** Fills the form with what is remembered; signs in if the tab was signed in before a reload. */
  start(): void {
    const account = this.store.account(this.defaults());
    // Demo passwords are public: they need no remembering.
    const demo = this.config.demoUsers.find((u) => u.user === account.identity);
    if (account.password === '' && demo) account.password = demo.password;
    this.form.set(account);
    if (this.store.signedIn() && account.password !== '') this.submit(account);
    else this.form.focus();
  }

  /** The account that the form starts with when nothing is remembered. */
  defaults(): Account {
    const demo = this.config.demoUsers[0];
    return {
      identity: demo?.user ?? '',
      displayName: '',
      password: demo?.password ?? '',
      wsUrl: this.derivedWsUrl(),
      remember: false,
      processing: true,
      codec: 'auto',
      sessionTimers: false,
    };
  }

  private derivedWsUrl(): string {
    return defaultWsUrl(window.location, this.config.wsPath);
  }

  private submit(account: Account): void {
    void this.bench.resume();
    try {
      this.phone.signIn(account);
      this.store.saveAccount(account, this.derivedWsUrl());
    } catch (e) {
      if (!(e instanceof PhoneError)) throw e;
      this.form.status(false, e.failure);
    }
  }

  private leave(): void {
    this.signedIn = false;
    this.store.setSignedIn(false);
    this.phone.signOut();
    this.render();
    this.form.focus();
  }

  private async callTo(target: string): Promise<void> {
    await this.attempt(async () => {
      await this.bench.resume();
      await this.phone.dial(target);
      // Out of the dial box, so that single-key shortcuts work on the call.
      this.dial.input.value = '';
      this.stage.focus();
    });
  }

  /** Runs something that may fail with words for the user. */
  private async attempt(fn: () => Promise<unknown>): Promise<void> {
    try {
      await fn();
    } catch (e) {
      this.explain(e);
    }
  }

  private attemptNow(fn: () => void): boolean {
    try {
      fn();
      return true;
    } catch (e) {
      this.explain(e);
      return false;
    }
  }

  private explain(e: unknown): void {
    const f: Failure =
      e instanceof PhoneError
        ? e.failure
        : {
            code: 'internal',
            title: 'That did not work',
            detail: e instanceof Error ? e.message : String(e),
            status: 0,
          };
    this.toasts.show(f.title, f.detail, 'bad', f.code);
  }

  private sendTone(c: Call, tone: string): boolean {
    return this.attemptNow(() => {
      c.dtmf(tone);
      this.ringer.beep(tone);
    });
  }

  private conversation(to: string) {
    try {
      return this.phone.messages.open(this.phone.targetUri(to), this.phone.domain);
    } catch {
      return undefined;
    }
  }

  /** Any touch of the page lets it sound. */
  private async touched(): Promise<void> {
    await this.bench.resume();
    if (!this.soundButton.hidden) await this.unblockSound();
  }

  private async unblockSound(): Promise<void> {
    await this.bench.resume();
    await Promise.all(this.phone.live.map((c) => c.media?.play()));
    toggle(this.soundButton, false);
  }

  private callActions() {
    return {
      answer: (c: Call) => void this.attempt(() => this.phone.answer(c)),
      reject: (c: Call) => c.hangup(486),
      hangup: (c: Call) => c.hangup(),
      mute: (c: Call) => c.setMuted(!c.muted),
      hold: (c: Call) => (c.hold.local ? this.phone.resume(c) : c.hold.set(true)),
      dtmf: (c: Call, tone: string) => void this.sendTone(c, tone),
      transfer: (c: Call, target: string) => this.attemptNow(() => this.phone.transfer(c, target)),
      connect: (c: Call, other: Call) => this.phone.connect(c, other),
      others: (c: Call) => this.phone.live.filter((o) => o !== c && o.connected),
      follow: (c: Call) => void this.attempt(() => this.phone.follow(c)),
      stay: (c: Call) => c.transfer.stay(),
      redial: (c: Call) => void this.callTo(c.peerUri),
      dismiss: (c: Call) => this.phone.dismiss(c),
    };
  }

  private listen(): void {
    const { phone } = this;
    phone.on('registration', () => this.registrationChanged());
    phone.on('calls', () => this.callsChanged());
    phone.on('call', (c) => this.callChanged(c));
    phone.on('sample', (c) => this.stage.sampled(c));
    phone.on('trouble', (f) => this.toasts.show(f.title, f.detail, 'bad', f.code));
    phone.on('blocked', () => toggle(this.soundButton, true));
    phone.on('sip', (e) => this.ladder.add(e));
    phone.messages.on('change', () => {
      this.texts.update();
      this.tabs.badge('texts', phone.messages.unread);
    });
    phone.messages.on('received', (m) => {
      this.announce(`Message from ${m.peer}: ${m.text}`);
      if (!this.tabs.visible('texts')) this.toasts.show(m.peer, m.text, 'info', 'message');
    });
    for (const gesture of ['pointerdown', 'keydown']) {
      document.addEventListener(gesture, () => void this.touched(), { passive: true });
    }
  }

  private registrationChanged(): void {
    const { phone } = this;
    if (phone.state === 'registered' && !this.signedIn) {
      this.signedIn = true;
      this.store.setSignedIn(true);
      this.render();
      this.dial.input.focus();
    }
    // A refused account ends the stay; a lost connection does not.
    const refused = phone.state === 'failed' && !phone.trying;
    if (refused && this.signedIn) {
      this.signedIn = false;
      this.render();
    }
    if (refused) this.store.setSignedIn(false);
    this.form.status(phone.state !== 'offline' && !refused, phone.failure);
    this.pill.dataset.state = phone.state;
    setText(this.pill, registrationText(phone));
    setText(this.who, phone.identity?.uri.replace('sip:', '') ?? '');
    const trouble = phone.state === 'registered' ? undefined : phone.failure;
    toggle(this.notice, this.signedIn && trouble !== undefined);
    if (trouble)
      fill(this.notice, icon('warn'), h('span', {}, h('strong', {}, `${trouble.title}. `), trouble.detail));
    this.announce(trouble ? `${registrationText(phone)} ${trouble.title}` : registrationText(phone));
  }

  private callsChanged(): void {
    const { phone } = this;
    const active = phone.active;
    const staged =
      active && active.state !== 'incoming'
        ? active
        : phone.calls.find((c) => c.live && c.state !== 'incoming');
    const shown = staged ?? phone.calls.find((c) => !c.live);
    this.stage.show(shown);
    this.list.update(phone.live, shown?.id);
    this.incoming.update(phone.live);
    this.ladder.follow(shown?.callId ?? active?.callId);
    this.tabs.badge('call', phone.live.length);
    this.quick.update(this.store.recents());
    this.ring();
  }

  private callChanged(c: Call): void {
    this.callsChanged();
    if (c.state === 'calling' || c.state === 'answering') this.tabs.show('call');
    this.announce(c.state === 'ended' ? `${c.peer}: ${c.endTitle}` : `${c.peer}: ${callStateText(c)}`);
    if (c.state === 'ended') {
      if (this.phone.live.length > 0 && !c.endedByUs)
        this.toasts.show(`${c.peer}: ${c.endTitle}`, c.failure?.detail ?? c.endText, 'info', c.id);
      const ok = c.metrics.answeredAt !== undefined || c.metrics.answerSentAt !== undefined;
      this.quick.update(
        this.store.addRecent({ target: c.peerUri, direction: c.direction, ok, at: Date.now() }),
      );
    }
  }

  private ring(): void {
    const live = this.phone.live;
    let ring: Ring = 'none';
    if (live.some((c) => c.state === 'incoming'))
      ring = live.some((c) => c.connected) ? 'waiting' : 'incoming';
    else if (live.some((c) => c.state === 'ringing' && !c.metrics.firstAudioAt)) ring = 'ringback';
    this.ringer.set(ring);
    const incoming = live.find((c) => c.state === 'incoming');
    document.title = incoming ? `☎ ${incoming.peer} is calling` : 'Isthmus phone';
  }

  private installKeys(): void {
    const { phone } = this;
    const ringing = () => phone.live.find((c) => c.state === 'incoming');
    const staged = () =>
      phone.active?.live && phone.active.state !== 'incoming'
        ? phone.active
        : phone.live.find((c) => c.state !== 'incoming');
    const act = (c: Call | undefined, fn: (c: Call) => void) => {
      if (c) fn(c);
      return c !== undefined;
    };
    const actions = this.callActions();
    shortcuts(
      {
        answer: () => act(ringing(), actions.answer),
        reject: () => act(ringing(), actions.reject),
        hangup: () => act(staged(), actions.hangup),
        mute: () => act(staged(), actions.mute),
        hold: () => act(staged(), actions.hold),
        pad: () => act(staged(), () => this.stage.togglePad()),
        transfer: () => act(staged(), () => this.stage.toggleTransfer()),
        swap: () =>
          act(
            phone.live.find((c) => c.connected && c.hold.local),
            (c) => phone.resume(c),
          ),
        dialBox: () => this.goTo('dial', () => this.dial.input.focus()),
        messages: () => this.goTo('texts', () => this.texts.focus()),
        help: () => {
          this.help.open();
          return true;
        },
        digit: (d) =>
          act(staged()?.connected ? staged() : undefined, (c) => {
            if (this.sendTone(c, d)) this.stage.echoTone(d);
          }),
      },
      () => this.store.shortcuts(),
    );
  }

  private goTo(tab: string, focus: () => void): boolean {
    if (!this.signedIn) return false;
    this.tabs.show(tab);
    focus();
    return true;
  }

  private announce(text: string): void {
    setText(this.announcer, text);
  }

  private render(): void {
    for (const el of [
      this.form.el,
      this.header,
      this.notice,
      this.soundButton,
      this.incoming.el,
      this.body,
      this.tabs.bar,
    ])
      el.remove();
    if (!this.signedIn) {
      this.root.prepend(this.form.el);
      return;
    }
    this.root.prepend(this.header, this.notice, this.soundButton, this.incoming.el, this.body, this.tabs.bar);
    this.callsChanged();
  }

  private makeHeader(): HTMLElement {
    return h(
      'header',
      { class: 'top' },
      h('div', { class: 'brand' }, mark(), h('span', {}, 'Isthmus')),
      h('div', { class: 'status' }, this.pill, this.who),
      h(
        'div',
        { class: 'row' },
        themeButton(this.store),
        h(
          'button',
          {
            type: 'button',
            class: 'quiet square',
            'aria-label': 'Help and shortcuts',
            title: 'Help and shortcuts (?)',
            onclick: () => this.help.open(),
          },
          icon('help'),
        ),
        h(
          'button',
          {
            type: 'button',
            class: 'quiet square',
            'aria-label': 'Sign out',
            title: 'Sign out',
            onclick: () => this.leave(),
          },
          icon('leave'),
        ),
      ),
    );
  }

  private idleStage(): HTMLElement {
    return h(
      'div',
      { class: 'idle' },
      h('div', { class: 'idle-mark' }, mark()),
      h('h2', {}, 'Ready for a call'),
      h(
        'p',
        { class: 'muted' },
        'Type a name or number, or press one of the quick targets. Incoming calls ring here.',
      ),
      h(
        'p',
        { class: 'muted keys-hint' },
        h('kbd', {}, '/'),
        ' dial box  ',
        h('kbd', {}, '?'),
        ' all shortcuts',
      ),
    );
  }
}
