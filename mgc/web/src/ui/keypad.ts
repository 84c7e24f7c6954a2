import { h, setText } from './dom';
import { icon } from './icons';

const KEYS: [string, string][] = [
  ['1', ''],
  ['2', 'ABC'],
  ['3', 'DEF'],
  ['4', 'GHI'],
  ['5', 'JKL'],
  ['6', 'MNO'],
  ['7', 'PQRS'],
  ['8', 'TUV'],
  ['9', 'WXYZ'],
  ['*', ''],
  ['0', '+'],
  ['#', ''],
];

const SPOKEN: Record<string, string> = { '*': 'star', '#': 'hash' };

/** Twelve keys; `press` is called with the key's character. `echo` shows what was sent. */
export function keypad(
  label: string,
  press: (key: string) => void,
): { el: HTMLElement; echo(tone: string): void } {
  const sent = h('output', { class: 'pad-sent', 'aria-label': `${label} sent` });
  const echo = (tone: string) => setText(sent, ((sent.textContent ?? '') + tone).slice(-16));
  const el = h(
    'div',
    { class: 'pad', role: 'group', 'aria-label': label },
    sent,
    h(
      'div',
      { class: 'pad-keys' },
      ...KEYS.map(([key, letters]) =>
        h(
          'button',
          {
            type: 'button',
            class: 'key',
            'data-key': key,
            'aria-label': SPOKEN[key] ?? key,
            onclick: () => {
              press(key);
              echo(key);
            },
          },
          h('span', {}, key),
          h('small', { 'aria-hidden': 'true' }, letters),
        ),
      ),
    ),
  );
  return { el, echo };
}

/** The dial box with its own keys. `call` gets the typed target. */
export function dialer(
  call: (target: string) => void,
  nearUse: () => void,
): { el: HTMLElement; input: HTMLInputElement } {
  const input = h('input', {
    id: 'dial',
    type: 'text',
    placeholder: 'Name or number',
    'aria-label': 'Whom to call',
    autocapitalize: 'off',
    spellcheck: 'false',
    autocomplete: 'off',
    enterkeyhint: 'go',
    oninput: nearUse,
  });
  const pad = keypad('Dial keys', (key) => {
    input.setRangeText(
      key,
      input.selectionStart ?? input.value.length,
      input.selectionEnd ?? input.value.length,
      'end',
    );
    nearUse();
  });
  pad.el.querySelector('.pad-sent')?.remove();
  const el = h(
    'form',
    {
      class: 'card dialer',
      onsubmit: (e: Event) => {
        e.preventDefault();
        if (input.value.trim() !== '') call(input.value);
        else input.focus();
      },
    },
    h(
      'div',
      { class: 'row dial-row' },
      input,
      h(
        'button',
        {
          type: 'button',
          class: 'quiet square',
          'aria-label': 'Delete last character',
          onclick: () => {
            input.value = input.value.slice(0, -1);
          },
        },
        icon('back'),
      ),
    ),
    pad.el,
    h(
      'button',
      { type: 'submit', class: 'go wide' },
      icon('phone'),
      'Call',
      h('kbd', { 'aria-hidden': 'true' }, 'Enter'),
    ),
  );
  return { el, input };
}
