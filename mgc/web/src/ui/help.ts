import type { Store } from '../core/storage';
import { h } from './dom';
import { icon } from './icons';
import { HELP } from './shortcuts';

/** The help dialog: shortcuts, and the switch that turns them off. */
export function helpDialog(store: Store): { open(): void } {
  const on = h('input', {
    type: 'checkbox',
    id: 'shortcuts-on',
    checked: store.shortcuts(),
    onchange: () => store.setShortcuts(on.checked),
  });
  const dialog = h(
    'dialog',
    { class: 'help', 'aria-labelledby': 'help-title' },
    h(
      'div',
      { class: 'row between' },
      h('h2', { id: 'help-title' }, 'Keyboard shortcuts'),
      h(
        'button',
        { type: 'button', class: 'quiet square', 'aria-label': 'Close', onclick: () => dialog.close() },
        icon('close'),
      ),
    ),
    h(
      'dl',
      { class: 'keys' },
      ...HELP.flatMap(([k, what]) => [h('dt', {}, h('kbd', {}, k)), h('dd', {}, what)]),
    ),
    h('label', { class: 'check' }, on, 'Single-key shortcuts on'),
  );
  return {
    open() {
      if (!dialog.isConnected) document.body.append(dialog);
      dialog.showModal();
    },
  };
}
