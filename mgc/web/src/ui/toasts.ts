import { h } from './dom';
import { icon } from './icons';

const SHOWN_MS = 8000;

/** Short notes in a corner; faults are announced at once by screen readers. */
export class Toasts {
  readonly el = h('div', { class: 'toasts' });

  /** Takes away what is no longer news. */
  clear(code: string): void {
    for (const t of this.el.querySelectorAll(`[data-code="${CSS.escape(code)}"]`)) t.remove();
  }

  show(title: string, detail: string, kind: 'bad' | 'info', code: string): void {
    const toast = h(
      'div',
      { class: `toast toast-${kind}`, role: kind === 'bad' ? 'alert' : 'status', 'data-code': code },
      h('div', {}, h('strong', {}, title), h('p', {}, detail)),
      h(
        'button',
        { type: 'button', class: 'quiet square', 'aria-label': 'Dismiss', onclick: () => toast.remove() },
        icon('close'),
      ),
    );
    // The same words twice tell nothing new.
    if (code !== 'message') this.clear(code);
    this.el.append(toast);
    while (this.el.childElementCount > 3) this.el.firstElementChild?.remove();
    setTimeout(() => toast.remove(), SHOWN_MS);
  }
}
