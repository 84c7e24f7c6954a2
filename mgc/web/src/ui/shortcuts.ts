/** What keys can do; false means "not now", and the key keeps its ordinary meaning. */
export interface Keys {
  answer(): boolean;
  reject(): boolean;
  hangup(): boolean;
  mute(): boolean;
  hold(): boolean;
  pad(): boolean;
  transfer(): boolean;
  swap(): boolean;
  dialBox(): boolean;
  messages(): boolean;
  help(): boolean;
  digit(d: string): boolean;
}

export const HELP: [string, string][] = [
  ['/', 'Go to the dial box'],
  ['Enter', 'Call what is in the dial box'],
  ['A', 'Answer (Alt+A while typing)'],
  ['R', 'Reject (Alt+R while typing)'],
  ['E', 'Hang up or cancel'],
  ['M', 'Mute or unmute'],
  ['H', 'Hold or resume'],
  ['K', 'Show or hide the keypad'],
  ['X', 'Transfer the call'],
  ['0–9 * #', 'Send tones in a call'],
  ['S', 'Switch between two calls'],
  ['T', 'Write a message'],
  ['Esc', 'Leave a text field, so that the keys above work'],
  ['?', 'This help'],
];

/** Installs the shortcuts. Single keys work outside text fields only, and only while `enabled()`. */
export function shortcuts(keys: Keys, enabled: () => boolean): void {
  const single: Record<string, () => boolean> = {
    a: keys.answer,
    r: keys.reject,
    e: keys.hangup,
    m: keys.mute,
    h: keys.hold,
    k: keys.pad,
    x: keys.transfer,
    s: keys.swap,
    t: keys.messages,
    '/': keys.dialBox,
    '?': keys.help,
  };
  document.addEventListener('keydown', (e) => {
    if (e.defaultPrevented || e.repeat || e.ctrlKey || e.metaKey) return;
    const key = e.key.toLowerCase();
    if (e.altKey) {
      if ((key === 'a' && keys.answer()) || (key === 'r' && keys.reject())) e.preventDefault();
      return;
    }
    if (key === 'escape' && typing(e.target)) {
      (e.target as HTMLElement).blur();
      return;
    }
    if (!enabled() || typing(e.target) || document.querySelector('dialog[open]')) return;
    const did = /^[0-9*#]$/.test(key) ? keys.digit(key) : single[key]?.();
    if (did) e.preventDefault();
  });
}

function typing(target: EventTarget | null): boolean {
  return (
    target instanceof HTMLElement &&
    target.matches('input:not([type=checkbox]), textarea, select, [contenteditable]')
  );
}
