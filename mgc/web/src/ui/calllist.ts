import type { PhoneConfig } from '../core/config';
import type { Recent } from '../core/storage';
import type { Call } from '../sip/call';
import { fill, h, toggle } from './dom';
import { icon } from './icons';
import { callStateText } from './text';

/** Calls in progress beside the one on the stage; shown from two calls on. */
export function callList(
  activate: (c: Call) => void,
  resume: (c: Call) => void,
  hangup: (c: Call) => void,
): { el: HTMLElement; update(calls: Call[], activeId: string | undefined): void } {
  const rows = h('ul', { class: 'calls' });
  const el = h(
    'section',
    { class: 'card', 'aria-label': 'Calls' },
    h('h2', { class: 'card-title' }, 'Calls'),
    rows,
  );
  return {
    el,
    update(calls, activeId) {
      const shown = calls.filter((c) => c.state !== 'incoming');
      toggle(el, shown.length > 1);
      fill(
        rows,
        ...shown.map((c) =>
          h(
            'li',
            { class: c.id === activeId ? 'call-row is-active' : 'call-row' },
            h(
              'button',
              {
                type: 'button',
                class: 'call-open',
                'aria-current': c.id === activeId ? 'true' : undefined,
                onclick: () => activate(c),
              },
              h('strong', {}, c.peer),
              h('span', {}, callStateText(c)),
            ),
            c.hold.local &&
              h(
                'button',
                { type: 'button', class: 'quiet', onclick: () => resume(c) },
                c.id === activeId ? 'Resume' : 'Switch',
              ),
            h(
              'button',
              {
                type: 'button',
                class: 'danger square',
                'aria-label': `Hang up ${c.peer}`,
                onclick: () => hangup(c),
              },
              icon('hangup'),
            ),
          ),
        ),
      );
    },
  };
}

/** Ringing calls, one bar each, above everything else. */
export function incomingBars(
  answer: (c: Call) => void,
  reject: (c: Call) => void,
): { el: HTMLElement; update(calls: Call[]): void } {
  const el = h('div', { class: 'incoming', role: 'region', 'aria-label': 'Incoming calls', hidden: true });
  let shown = '';
  return {
    el,
    update(calls) {
      const ringing = calls.filter((c) => c.state === 'incoming');
      const key = ringing.map((c) => c.id).join();
      // Rebuilding would take the focus from a button that is about to be pressed.
      if (key === shown) return;
      shown = key;
      toggle(el, ringing.length > 0);
      fill(
        el,
        ...ringing.map((c) =>
          h(
            'div',
            { class: 'incoming-bar', role: 'alertdialog', 'aria-label': `Incoming call from ${c.peer}` },
            h('div', { class: 'avatar pulse', 'aria-hidden': 'true' }, c.peer.slice(0, 1).toUpperCase()),
            h(
              'div',
              { class: 'incoming-who' },
              h('span', { class: 'muted' }, 'Incoming call'),
              h('strong', {}, c.peer),
              h('small', { class: 'muted' }, c.peerUri),
            ),
            h(
              'button',
              { type: 'button', class: 'go', 'aria-keyshortcuts': 'a Alt+a', onclick: () => answer(c) },
              icon('phone'),
              'Answer',
              h('kbd', { 'aria-hidden': 'true' }, 'Alt A'),
            ),
            h(
              'button',
              { type: 'button', class: 'danger', 'aria-keyshortcuts': 'r Alt+r', onclick: () => reject(c) },
              icon('hangup'),
              'Reject',
              h('kbd', { 'aria-hidden': 'true' }, 'Alt R'),
            ),
          ),
        ),
      );
    },
  };
}

/** Demo targets and the last peers, one touch away. */
export function quickDial(
  config: PhoneConfig,
  call: (target: string) => void,
  name: (uri: string) => string,
): { el: HTMLElement; update(recents: Recent[]): void } {
  const recentRows = h('ul', { class: 'recents' });
  const recentTitle = h('h2', { class: 'card-title' }, 'Recent');
  const demo = h(
    'div',
    { class: 'demo', role: 'group', 'aria-label': 'Demo targets' },
    ...config.demoTargets
      .slice(0, 8)
      .map((t) =>
        h(
          'button',
          { type: 'button', class: 'chip', title: t.uri, onclick: () => call(t.uri) },
          icon('phone'),
          t.label,
        ),
      ),
  );
  const el = h(
    'section',
    { class: 'card quick', 'aria-label': 'Quick dial' },
    config.demoTargets.length > 0 && h('h2', { class: 'card-title' }, 'Try it'),
    config.demoTargets.length > 0 && demo,
    recentTitle,
    recentRows,
  );
  return {
    el,
    update(recents) {
      toggle(recentTitle, recents.length > 0);
      toggle(el, recents.length > 0 || config.demoTargets.length > 0);
      fill(
        recentRows,
        ...recents.slice(0, 6).map((r) =>
          h(
            'li',
            {},
            h(
              'button',
              {
                type: 'button',
                class: r.ok ? 'recent' : 'recent missed',
                onclick: () => call(r.target),
                'aria-label': `Call ${name(r.target)}`,
              },
              icon(r.direction),
              h('span', {}, name(r.target)),
              h('small', {}, new Date(r.at).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' })),
            ),
          ),
        ),
      );
    },
  };
}
