import type { Store, Theme } from '../core/storage';
import { h } from './dom';
import { icon } from './icons';

/** Applies the remembered theme; "auto" follows the system. */
export function applyTheme(theme: Theme): void {
  if (theme === 'auto') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

/** A button that turns light into dark and back. */
export function themeButton(store: Store): HTMLButtonElement {
  return h(
    'button',
    {
      type: 'button',
      class: 'quiet square',
      'aria-label': 'Switch between light and dark',
      title: 'Light or dark',
      onclick: () => {
        const now = document.documentElement.dataset.theme;
        const dark =
          now === 'dark' || (now === undefined && matchMedia('(prefers-color-scheme: dark)').matches);
        const next: Theme = dark ? 'light' : 'dark';
        store.setTheme(next);
        applyTheme(next);
      },
    },
    icon('sun'),
  );
}
