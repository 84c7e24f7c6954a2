import type { Account, CodecChoice } from '../core/account';
import type { PhoneConfig } from '../core/config';
import type { Failure } from '../sip/failure';
import { fill, h, toggle } from './dom';
import { icon } from './icons';
import { mark } from './mark';

export interface SignIn {
  el: HTMLElement;
  /** Shows what is going on below the form. */
  status(busy: boolean, failure: Failure | undefined): void;
  focus(): void;
  set(account: Account): void;
}

const CODECS: [CodecChoice, string][] = [
  ['auto', 'Automatic'],
  ['opus', 'Opus'],
  ['g722', 'G.722'],
  ['pcma', 'G.711 A-law'],
  ['pcmu', 'G.711 µ-law'],
];

/** The account form. `submit` gets what was typed; `cancel` ends an attempt under way. */
export function signIn(config: PhoneConfig, submit: (a: Account) => void, cancel: () => void): SignIn {
  const identity = input('identity', {
    autocomplete: 'username',
    placeholder: `alice or alice@${config.domain}`,
    required: true,
  });
  const displayName = input('display-name', { autocomplete: 'name', placeholder: 'Optional' });
  const password = input('password', { type: 'password', autocomplete: 'current-password' });
  const wsUrl = input('ws-url', { type: 'text', inputmode: 'url', required: true });
  const remember = checkbox('remember');
  const processing = checkbox('processing');
  const sessionTimers = checkbox('session-timers');
  const codec = h('select', { id: 'codec' }, ...CODECS.map(([v, label]) => h('option', { value: v }, label)));
  const problem = h('div', { class: 'problem', role: 'alert', hidden: true });
  const button = h('button', { type: 'submit', class: 'primary wide' }, 'Sign in');
  const stop = h('button', { type: 'button', class: 'quiet wide', hidden: true, onclick: cancel }, 'Cancel');

  const read = (): Account => ({
    identity: identity.value.trim(),
    displayName: displayName.value.trim(),
    password: password.value,
    wsUrl: wsUrl.value.trim(),
    remember: remember.checked,
    processing: processing.checked,
    codec: codec.value as CodecChoice,
    sessionTimers: sessionTimers.checked,
  });
  const set = (a: Account) => {
    identity.value = a.identity;
    displayName.value = a.displayName;
    password.value = a.password;
    wsUrl.value = a.wsUrl;
    remember.checked = a.remember;
    processing.checked = a.processing;
    codec.value = a.codec;
    sessionTimers.checked = a.sessionTimers;
  };

  const form = h(
    'form',
    {
      class: 'card signin',
      onsubmit: (e: Event) => {
        e.preventDefault();
        submit(read());
      },
    },
    h('div', { class: 'brand-big' }, mark(), h('h1', {}, 'Isthmus'), h('p', {}, 'Web phone')),
    config.demoUsers.length > 0 &&
      h(
        'div',
        { class: 'demo', role: 'group', 'aria-label': 'Demo accounts' },
        h('span', { class: 'muted' }, 'Demo account'),
        ...config.demoUsers.slice(0, 6).map((u) =>
          h(
            'button',
            {
              type: 'button',
              class: 'chip',
              onclick: () => {
                identity.value = u.user;
                password.value = u.password;
                button.focus();
              },
            },
            u.user,
          ),
        ),
      ),
    field('SIP user or address', identity),
    field('Password', password),
    field('Display name', displayName),
    h('label', { class: 'check' }, remember, 'Remember the password on this device'),
    h(
      'details',
      {},
      h('summary', {}, 'Connection and audio'),
      h(
        'div',
        { class: 'more' },
        field('WebSocket address', wsUrl),
        field('Preferred codec', codec),
        h('label', { class: 'check' }, processing, 'Echo cancellation and noise suppression'),
        h('label', { class: 'check' }, sessionTimers, 'Session timers (RFC 4028)'),
      ),
    ),
    problem,
    button,
    stop,
    config.registrarHint !== '' && h('p', { class: 'muted hint' }, config.registrarHint),
  );

  return {
    el: h('main', { class: 'signin-page' }, form),
    set,
    focus: () => (identity.value === '' ? identity : password.value === '' ? password : button).focus(),
    status(busy, failure) {
      button.disabled = busy && !failure;
      button.textContent = busy ? (failure ? 'Try again now' : 'Connecting…') : 'Sign in';
      toggle(stop, busy);
      toggle(problem, failure !== undefined);
      if (failure) {
        fill(
          problem,
          icon('warn'),
          h(
            'div',
            {},
            h('strong', {}, failure.title),
            h('p', {}, failure.detail),
            busy && h('p', { class: 'muted' }, 'Trying again…'),
          ),
        );
        problem.dataset.code = failure.code;
        problem.scrollIntoView({ block: 'nearest' });
      }
    },
  };
}

function input(id: string, props: Record<string, unknown>): HTMLInputElement {
  return h('input', { id, name: id, type: 'text', spellcheck: 'false', autocapitalize: 'off', ...props });
}

function checkbox(id: string): HTMLInputElement {
  return h('input', { id, name: id, type: 'checkbox' });
}

function field(label: string, control: HTMLElement): HTMLElement {
  return h('div', { class: 'field' }, h('label', { for: control.id }, label), control);
}
