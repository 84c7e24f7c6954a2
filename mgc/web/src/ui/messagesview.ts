import type { Conversation, Messages, Text } from '../sip/messages';
import { fill, h, toggle } from './dom';
import { icon } from './icons';

/** Conversations and the open one. `send` may throw; the caller shows why. */
export function messagesView(
  messages: Messages,
  send: (target: string, text: string) => boolean,
  open: (target: string) => Conversation | undefined,
): { el: HTMLElement; update(): void; shown(): void; focus(): void; show(c: Conversation): void } {
  let current: Conversation | undefined;
  const list = h('div', { class: 'threads', role: 'group', 'aria-label': 'Conversations' });
  const log = h('ol', { class: 'bubbles', tabindex: '0', 'aria-label': 'Texts', role: 'log' });
  const to = h('input', {
    id: 'text-to',
    placeholder: 'To: user or address',
    autocapitalize: 'off',
    spellcheck: 'false',
    'aria-label': 'Send to',
  });
  const text = h('input', {
    id: 'text-body',
    placeholder: 'Write a message',
    maxlength: '1200',
    'aria-label': 'Message',
    autocomplete: 'off',
  });
  const empty = h(
    'p',
    { class: 'muted empty' },
    'No messages yet. Write to any SIP user; the network carries it as SIP MESSAGE.',
  );

  const form = h(
    'form',
    {
      class: 'compose',
      onsubmit: (e: Event) => {
        e.preventDefault();
        const target = current?.uri ?? to.value.trim();
        if (!target || text.value.trim() === '') return;
        if (!send(target, text.value)) return;
        current = open(target);
        to.value = '';
        text.value = '';
        update();
      },
    },
    to,
    h(
      'div',
      { class: 'row' },
      text,
      h('button', { type: 'submit', class: 'primary square', 'aria-label': 'Send message' }, icon('send')),
    ),
  );

  function bubble(t: Text): HTMLElement {
    const state =
      t.status === 'sending'
        ? 'Sending…'
        : t.status === 'failed'
          ? `Not sent: ${t.failure?.title ?? 'failed'}`
          : '';
    const time = new Date(t.at).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
    return h(
      'li',
      { class: `bubble bubble-${t.direction} is-${t.status}` },
      h('p', {}, t.text),
      h('small', {}, state ? `${time} · ${state}` : time),
    );
  }

  function select(c: Conversation | undefined): void {
    current = c;
    if (c && el.offsetParent !== null) messages.markRead(c);
    update();
  }

  new ResizeObserver(() => {
    log.scrollTop = log.scrollHeight;
  }).observe(log);

  function update(): void {
    if (current && el.offsetParent !== null && current.unread > 0) messages.markRead(current);
    fill(
      list,
      ...messages.conversations.map((c) =>
        h(
          'button',
          { type: 'button', class: 'chip', 'aria-pressed': String(c === current), onclick: () => select(c) },
          c.peer,
          c.unread > 0 && h('span', { class: 'badge' }, String(c.unread)),
        ),
      ),
      messages.conversations.length > 0 &&
        h(
          'button',
          {
            type: 'button',
            class: 'chip',
            'aria-pressed': String(!current),
            onclick: () => {
              select(undefined);
              to.focus();
            },
          },
          '+ New',
        ),
    );
    toggle(list, messages.conversations.length > 0);
    toggle(to, current === undefined);
    toggle(empty, current === undefined);
    fill(log, ...(current?.texts ?? []).map(bubble));
    toggle(log, current !== undefined);
    log.scrollTop = log.scrollHeight;
  }

  const el = h(
    'section',
    { class: 'panel messages', 'aria-label': 'Messages' },
    h('h2', { class: 'card-title' }, 'Messages'),
    list,
    empty,
    log,
    form,
  );
  update();
  return {
    el,
    update() {
      // Never under the hands of someone who is writing to somebody else.
      const writing = to.value !== '' || text.value !== '' || document.activeElement === to;
      if (!current && !writing) current = messages.conversations[0];
      update();
    },
    shown: () => update(),
    focus: () => (current ? text : to).focus(),
    show: (c) => select(c),
  };
}
