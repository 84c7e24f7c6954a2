import { meterFraction } from '../media/tone';
import type { Call } from '../sip/call';
import type { Referral } from '../sip/transfer';
import { fill, h, setText, toggle } from './dom';
import { type IconName, icon } from './icons';
import { keypad } from './keypad';
import { plot } from './plot';
import { callStateText, clock, factsOf } from './text';
import { type TransferPanel, transferPanel } from './transferpanel';

export interface CallActions {
  answer(c: Call): void;
  reject(c: Call): void;
  hangup(c: Call): void;
  mute(c: Call): void;
  hold(c: Call): void;
  dtmf(c: Call, tone: string): void;
  /** True when it could be asked for. */
  transfer(c: Call, target: string): boolean;
  connect(c: Call, other: Call): void;
  /** Other calls that the far end can be connected with. */
  others(c: Call): Call[];
  follow(c: Call): void;
  stay(c: Call): void;
  redial(c: Call): void;
  dismiss(c: Call): void;
}

/** The stage: the active call with its controls, meters, plot and facts. */
export class CallView {
  readonly el = h('section', { class: 'stage', 'aria-label': 'Call' });
  private readonly name = h('h2', { class: 'peer', tabindex: '-1' });
  private readonly avatar = h('div', { class: 'avatar', 'aria-hidden': 'true' });
  private readonly status = h('p', { class: 'call-status' });
  private readonly timer = h('p', { class: 'timer', role: 'timer' });
  private readonly buttons = h('div', { class: 'controls', role: 'toolbar', 'aria-label': 'Call controls' });
  private readonly mute = control('mic', 'Mute', 'M');
  private readonly hold = control('pause', 'Hold', 'H');
  private readonly padButton = control('pad', 'Keypad', 'K');
  private readonly transferButton = control('transfer', 'Transfer', 'X');
  private readonly end = control('hangup', 'Hang up', 'E', 'danger');
  private readonly pad: { el: HTMLElement; echo(tone: string): void };
  private readonly transfer: TransferPanel;
  private readonly referral = h('div', { class: 'referral', role: 'alert', hidden: true });
  private referred: Referral | undefined;
  private readonly meters = h('div', { class: 'meters' });
  private readonly localBar = bar();
  private readonly remoteBar = bar();
  private readonly plot = plot();
  private readonly facts = h('dl', { class: 'facts' });
  private readonly live = h('div', { class: 'stage-live' });
  private readonly over = h('div', { class: 'stage-over' });
  private readonly idle: HTMLElement;
  private call: Call | undefined;
  private ticking = 0;

  constructor(
    private readonly actions: CallActions,
    idle: HTMLElement,
  ) {
    this.idle = idle;
    const withCall = (fn: (c: Call) => void) => () => this.call && fn(this.call);
    this.mute.addEventListener('click', withCall(actions.mute));
    this.hold.addEventListener('click', withCall(actions.hold));
    this.end.addEventListener('click', withCall(actions.hangup));
    this.padButton.addEventListener('click', () => this.togglePad());
    this.pad = keypad('Tones', (tone) => this.call && actions.dtmf(this.call, tone));
    this.pad.el.hidden = true;
    this.transfer = transferPanel(actions, () => this.call);
    this.transferButton.addEventListener('click', () => this.toggleTransfer());
    this.buttons.append(this.mute, this.hold, this.padButton, this.transferButton, this.end);
    this.meters.append(meterRow('You', this.localBar), meterRow('Far end', this.remoteBar));
    this.live.append(
      h('div', { class: 'call-head' }, this.avatar, this.name, this.status, this.timer),
      this.buttons,
      this.referral,
      this.pad.el,
      this.transfer.el,
      this.meters,
      this.plot.el,
      this.facts,
    );
    this.el.append(this.idle, this.live, this.over);
    this.show(undefined);
  }

  /** Puts `call` on the stage; undefined clears it. */
  show(call: Call | undefined): void {
    if (call !== this.call) {
      this.pad.el.hidden = true;
      this.padButton.setAttribute('aria-expanded', 'false');
      this.openTransfer(false);
      this.plot.update([]);
      fill(this.facts);
    }
    const changed = call !== this.call;
    this.call = call;
    toggle(this.idle, !call);
    toggle(this.live, call?.live === true);
    toggle(this.over, call !== undefined && !call.live);
    if (!call) return;
    if (call.live) this.renderLive(call);
    else this.renderOver(call);
    if (changed) this.sampled(call);
  }

  /** Called once a second with fresh statistics. */
  sampled(call: Call): void {
    if (call !== this.call || !call.live || !call.media) return;
    this.plot.update(call.media.samples);
    fill(this.facts, ...factsOf(call).flatMap(([k, v]) => [h('dt', {}, k), h('dd', {}, v)]));
  }

  togglePad(): void {
    if (!this.call?.connected) return;
    const open = this.pad.el.hidden;
    toggle(this.pad.el, open);
    this.padButton.setAttribute('aria-expanded', String(open));
    if (open) this.pad.el.querySelector('button')?.focus();
  }

  toggleTransfer(): void {
    if (!this.call?.connected || this.transferButton.disabled) return;
    this.openTransfer(this.transfer.el.hidden);
  }

  private openTransfer(open: boolean): void {
    toggle(this.transfer.el, open);
    this.transferButton.setAttribute('aria-expanded', String(open));
    if (open) this.transfer.open();
  }

  /** Moves the keyboard focus to the call. */
  focus(): void {
    this.name.focus();
  }

  /** Shows a tone that was sent by keyboard. */
  echoTone(tone: string): void {
    this.pad.echo(tone);
  }

  private renderLive(call: Call): void {
    setText(this.name, call.peer);
    this.name.title = call.peerUri;
    setText(this.avatar, call.peer.slice(0, 1).toUpperCase());
    setText(this.status, callStateText(call));
    this.live.dataset.state = call.hold.local || call.hold.remote ? 'held' : call.state;
    const connected = call.connected;
    this.mute.disabled = !connected;
    this.hold.disabled = !connected;
    this.padButton.disabled = !connected;
    this.transferButton.disabled = !connected || call.transfer.busy;
    if (this.transferButton.disabled) this.openTransfer(false);
    this.transfer.update();
    this.renderReferral(call);
    press(this.mute, call.muted, call.muted ? 'Unmute' : 'Mute', call.muted ? 'micOff' : 'mic');
    press(
      this.hold,
      call.hold.local,
      call.hold.local ? 'Resume' : 'Hold',
      call.hold.local ? 'play' : 'pause',
    );
    setLabel(this.end, connected ? 'Hang up' : 'Cancel');
    for (const part of [this.meters, this.plot.el, this.facts, this.timer]) toggle(part, connected);
    if (connected) this.plot.update(call.media?.samples ?? []);
    this.startTicking();
  }

  private renderReferral(call: Call): void {
    const { asked } = call.transfer;
    toggle(this.referral, asked !== undefined);
    if (asked === this.referred) return; // a button under the pointer stays the same
    this.referred = asked;
    if (!asked) return;
    fill(
      this.referral,
      h('p', {}, `${call.peer} wants to connect you with `, h('strong', {}, asked.uri.replace(/^sip:/, ''))),
      h(
        'div',
        { class: 'row center' },
        h(
          'button',
          { type: 'button', class: 'primary', onclick: () => this.actions.follow(call) },
          'Connect me',
        ),
        h('button', { type: 'button', class: 'quiet', onclick: () => this.actions.stay(call) }, 'Stay'),
      ),
    );
  }

  private renderOver(call: Call): void {
    const f = call.failure;
    const tone = f && !f.mild ? 'bad' : 'mild';
    const seconds = call.metrics.answeredAt ?? call.metrics.answerSentAt;
    const lasted = seconds && call.metrics.endedAt ? clock((call.metrics.endedAt - seconds) / 1000) : '';
    fill(
      this.over,
      h('div', { class: `verdict verdict-${tone}` }, icon(f && !f.mild ? 'warn' : 'hangup')),
      h('h2', {}, call.endTitle),
      h('p', {}, f ? f.detail : call.endText),
      h(
        'p',
        { class: 'muted' },
        [call.peer, lasted && `lasted ${lasted}`, f && f.status > 0 && `SIP ${f.status}`]
          .filter(Boolean)
          .join(' · '),
      ),
      h(
        'div',
        { class: 'row center' },
        h(
          'button',
          { type: 'button', class: 'primary', onclick: () => this.actions.redial(call) },
          call.direction === 'in' ? 'Call back' : 'Call again',
        ),
        h('button', { type: 'button', class: 'quiet', onclick: () => this.actions.dismiss(call) }, 'Close'),
      ),
    );
  }

  /** Meters and clock run while a call is on the stage, and only then. */
  private startTicking(): void {
    if (this.ticking) return;
    const tick = () => {
      const c = this.call;
      if (!c?.live) {
        this.ticking = 0;
        return;
      }
      if (c.connected) {
        drive(
          this.localBar,
          c.muted || c.hold.local
            ? Number.NEGATIVE_INFINITY
            : (c.media?.localDb() ?? Number.NEGATIVE_INFINITY),
        );
        drive(this.remoteBar, c.media?.remoteDb() ?? Number.NEGATIVE_INFINITY);
        const start = c.metrics.answeredAt ?? c.metrics.answerSentAt ?? performance.now();
        setText(this.timer, clock((performance.now() - start) / 1000));
      }
      this.ticking = requestAnimationFrame(tick);
    };
    this.ticking = requestAnimationFrame(tick);
  }
}

function control(name: IconName, label: string, key: string, extra = ''): HTMLButtonElement {
  return h(
    'button',
    { type: 'button', class: `control ${extra}`, 'aria-keyshortcuts': key.toLowerCase() },
    h('span', { class: 'control-face' }, icon(name)),
    h('span', { class: 'control-label' }, label),
    h('kbd', { 'aria-hidden': 'true' }, key),
  );
}

function press(b: HTMLButtonElement, on: boolean, label: string, name: IconName): void {
  setLabel(b, label);
  if (b.classList.contains('on') === on && b.dataset.icon === name) return;
  b.classList.toggle('on', on);
  b.dataset.icon = name;
  const face = b.querySelector('.control-face');
  if (face) fill(face, icon(name));
}

function setLabel(b: HTMLButtonElement, label: string): void {
  const el = b.querySelector('.control-label');
  if (el) setText(el, label);
}

function bar(): HTMLElement {
  return h(
    'div',
    { class: 'bar', role: 'meter', 'aria-valuemin': '-60', 'aria-valuemax': '0', 'aria-valuenow': '-60' },
    h('div', { class: 'bar-fill' }),
  );
}

function meterRow(label: string, el: HTMLElement): HTMLElement {
  el.setAttribute('aria-label', `${label}: level in dBFS`);
  return h('div', { class: 'meter' }, h('span', {}, label), el);
}

/** Rises at once, falls slowly: the eye follows speech better so. */
function drive(el: HTMLElement, db: number): void {
  const target = meterFraction(db);
  const before = Number(el.dataset.level ?? 0);
  const level = target > before ? target : Math.max(target, before - 0.03);
  el.dataset.level = String(level);
  el.setAttribute('aria-valuenow', String(Math.round(level * 60 - 60)));
  (el.firstElementChild as HTMLElement).style.clipPath =
    `inset(0 ${(100 - level * 100).toFixed(1)}% 0 0 round 999px)`;
}
