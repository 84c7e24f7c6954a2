import type { Call } from '../sip/call';
import { fill, h } from './dom';

export interface TransferActions {
  transfer(c: Call, target: string): boolean;
  connect(c: Call, other: Call): void;
  others(c: Call): Call[];
}

export interface TransferPanel {
  el: HTMLElement;
  /** Empties the box and puts the keyboard focus there. */
  open(): void;
  /** Offers the other calls there are now. */
  update(): void;
}

/** Where a call is handed on: to an address, or to the far end of another call. */
export function transferPanel(actions: TransferActions, current: () => Call | undefined): TransferPanel {
  const input = h('input', {
    type: 'text',
    'aria-label': 'Transfer to',
    placeholder: 'Name or number',
    autocapitalize: 'none',
    autocomplete: 'off',
    spellcheck: 'false',
  });
  const others = h('div', { class: 'row center' });
  const el = h(
    'form',
    {
      class: 'transfer',
      hidden: true,
      'aria-label': 'Transfer',
      onsubmit: (e: Event) => {
        e.preventDefault();
        const call = current();
        if (call && input.value.trim() !== '') actions.transfer(call, input.value);
      },
    },
    h('div', { class: 'transfer-to' }, input, h('button', { type: 'submit', class: 'primary' }, 'Transfer')),
    others,
  );
  let shown = '';
  return {
    el,
    open() {
      input.value = '';
      input.focus();
    },
    update() {
      const call = current();
      const list = call ? actions.others(call) : [];
      const key = list.map((o) => o.id).join(' ');
      if (key === shown) return; // a button under the pointer stays the same
      shown = key;
      fill(
        others,
        ...list.map((o) =>
          h(
            'button',
            {
              type: 'button',
              onclick: () => {
                const c = current();
                if (c) actions.connect(c, o);
              },
            },
            `Connect with ${o.peer}`,
          ),
        ),
      );
    },
  };
}
