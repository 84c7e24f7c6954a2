import { h, setText, toggle } from './dom';
import { type IconName, icon } from './icons';

export interface Tab {
  id: string;
  label: string;
  icon: IconName;
  el: HTMLElement;
}

/**
 * The panels of the phone. On a wide screen all are visible at once and the bar
 * is hidden by style; on a small one the bar chooses. In between, "texts" and
 * "sip" share a column, which the same choice decides.
 */
export class Tabs {
  readonly panels: HTMLElement[];
  readonly bar: HTMLElement;
  private readonly buttons = new Map<string, { button: HTMLButtonElement; badge: HTMLElement }>();
  private current = 'dial';

  constructor(
    private readonly tabs: Tab[],
    private readonly shown: (id: string) => void,
  ) {
    this.panels = tabs.map((t) => t.el);
    this.bar = h(
      'nav',
      { class: 'tabbar', 'aria-label': 'Views' },
      ...tabs.map((t) => {
        const badge = h('span', { class: 'badge', hidden: true });
        const button = h(
          'button',
          { type: 'button', class: 'tab', onclick: () => this.show(t.id) },
          icon(t.icon),
          h('span', {}, t.label),
          badge,
        );
        this.buttons.set(t.id, { button, badge });
        return button;
      }),
    );
    this.show('dial');
  }

  show(id: string): void {
    this.current = id;
    for (const t of this.tabs) {
      const on = t.id === id;
      t.el.classList.toggle('is-current', on);
      const b = this.buttons.get(t.id)?.button;
      if (on) b?.setAttribute('aria-current', 'page');
      else b?.removeAttribute('aria-current');
    }
    this.shown(this.current);
  }

  /** Whether the user can see this panel now, on this screen. */
  visible(id: string): boolean {
    const tab = this.tabs.find((t) => t.id === id);
    return tab !== undefined && tab.el.offsetParent !== null && document.visibilityState === 'visible';
  }

  badge(id: string, count: number): void {
    const b = this.buttons.get(id)?.badge;
    if (!b) return;
    toggle(b, count > 0);
    setText(b, String(count));
  }
}
