import type { Ladder, LadderEntry } from '../sip/ladder';
import { fill, h, setText, toggle } from './dom';

/** Rows beyond this are dropped from the page (the ladder itself is bounded too). */
const MAX_ROWS = 250;

/** A scrolling list of SIP messages between this browser and the gateway. */
export function ladderView(ladder: Ladder): {
  el: HTMLElement;
  add(e: LadderEntry): void;
  /** Offers to show the messages of this call only. */
  follow(callId: string | undefined): void;
} {
  let callId: string | undefined;
  let firstT = 0;
  const only = h('input', { type: 'checkbox', id: 'ladder-only', checked: true, onchange: () => rebuild() });
  const rows = h('ol', { class: 'rungs', tabindex: '0', 'aria-label': 'SIP messages' });
  const empty = h('p', { class: 'muted empty' }, 'SIP messages appear here as they are sent and received.');

  // Stays at the newest message unless the reader scrolled away from it.
  let stick = true;
  const toEnd = () => {
    if (stick) rows.scrollTop = rows.scrollHeight;
  };
  rows.addEventListener('scroll', () => {
    stick = rows.scrollHeight - rows.scrollTop - rows.clientHeight < 40;
  });
  new ResizeObserver(toEnd).observe(rows);

  const matches = (e: LadderEntry) => !only.checked || callId === undefined || e.callId === callId;

  function row(e: LadderEntry): HTMLElement {
    const body = h('pre', { hidden: true });
    const open = h(
      'button',
      {
        type: 'button',
        class: 'rung',
        'aria-expanded': 'false',
        onclick: () => {
          body.hidden = !body.hidden;
          open.setAttribute('aria-expanded', String(!body.hidden));
          if (!body.hidden) setText(body, e.text);
        },
      },
      h('span', { class: 'rung-time' }, `${((e.t - firstT) / 1000).toFixed(3)}`),
      h(
        'span',
        { class: 'rung-lane' },
        h(
          'span',
          { class: 'rung-label' },
          h('span', { class: 'sr-only' }, e.direction === 'out' ? 'Sent ' : 'Received '),
          h('span', { class: 'rung-title' }, e.status ? e.title : shorten(e.title)),
          e.status && e.method ? h('span', { class: 'tag' }, e.method) : null,
          e.sdp && h('span', { class: 'tag tag-sdp' }, 'SDP'),
        ),
        h('span', { class: 'rung-arrow', 'aria-hidden': 'true' }),
      ),
    );
    return h('li', { class: `rung-${e.direction} ${kind(e)}` }, open, body);
  }

  function rebuild(): void {
    const list = ladder.list().filter(matches).slice(-MAX_ROWS);
    firstT = list[0]?.t ?? 0;
    fill(rows, ...list.map(row));
    toggle(empty, list.length === 0);
    stick = true;
    toEnd();
  }

  return {
    el: h(
      'section',
      { class: 'panel ladder', 'aria-label': 'SIP ladder' },
      h(
        'div',
        { class: 'panel-bar' },
        h('h2', { class: 'card-title' }, 'SIP ladder'),
        h('label', { class: 'check' }, only, 'This call only'),
      ),
      h('div', { class: 'ends', 'aria-hidden': 'true' }, h('span', {}, 'Phone'), h('span', {}, 'Gateway')),
      empty,
      rows,
    ),
    add(e) {
      if (!matches(e)) return;
      if (rows.childElementCount === 0) firstT = e.t;
      toggle(empty, false);
      rows.append(row(e));
      while (rows.childElementCount > MAX_ROWS) rows.firstElementChild?.remove();
      toEnd();
    },
    follow(id) {
      if (id === callId) return;
      callId = id;
      rebuild();
    },
  };
}

function kind(e: LadderEntry): string {
  if (e.status === 0) return 'is-request';
  // A challenge is a step of the exchange, no failure.
  if (e.status < 200 || e.status === 401 || e.status === 407) return 'is-provisional';
  return e.status < 300 ? 'is-success' : 'is-failure';
}

/** URI parameters tell the reader little in a list. */
function shorten(title: string): string {
  return title.replace(/;.*$/, '');
}
