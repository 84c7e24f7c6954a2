import { beforeEach, describe, expect, test } from 'vitest';
import type { Account } from '../../src/core/account';
import { type StorageLike, Store, storageOrNothing } from '../../src/core/storage';

class Memory implements StorageLike {
  readonly data = new Map<string, string>();
  getItem = (k: string) => this.data.get(k) ?? null;
  setItem = (k: string, v: string) => void this.data.set(k, v);
  removeItem = (k: string) => void this.data.delete(k);
}

const DERIVED = 'wss://gw.example/sip';
const defaults: Account = {
  identity: '',
  displayName: '',
  password: '',
  wsUrl: DERIVED,
  remember: false,
  processing: true,
  codec: 'auto',
  sessionTimers: false,
};
const alice: Account = {
  ...defaults,
  identity: 'alice',
  password: 'hunter2',
  displayName: 'Alice',
  codec: 'pcma',
};

let device: Memory;
let tab: Memory;
let store: Store;
beforeEach(() => {
  device = new Memory();
  tab = new Memory();
  store = new Store(device, tab);
});

describe('account', () => {
  test('everything but the password is remembered without the tick', () => {
    store.saveAccount(alice, DERIVED);
    expect(store.account(defaults)).toEqual({ ...alice, password: '' });
    expect([...device.data.values(), ...tab.data.values()].join()).not.toContain('hunter2');
  });
  test('with the tick the password is remembered; without it again it is removed', () => {
    store.saveAccount({ ...alice, remember: true }, DERIVED);
    expect(store.account(defaults).password).toBe('hunter2');
    store.saveAccount({ ...alice, remember: false }, DERIVED);
    expect(store.account(defaults).password).toBe('');
    expect([...device.data.values()].join()).not.toContain('hunter2');
  });
  test('a derived WebSocket URL follows the page, a typed one stays', () => {
    store.saveAccount(alice, DERIVED);
    expect(store.account({ ...defaults, wsUrl: 'ws://other/sip' }).wsUrl).toBe('ws://other/sip');
    store.saveAccount({ ...alice, wsUrl: 'wss://mine/sip' }, DERIVED);
    expect(store.account(defaults).wsUrl).toBe('wss://mine/sip');
  });
  test.each(['{', 'null', '7', '[]', '{"codec":"mp3","processing":"yes","identity":5}'])(
    'rubbish %s gives defaults',
    (raw) => {
      device.setItem('isthmus.account', raw);
      expect(store.account(defaults)).toEqual(defaults);
    },
  );
});

describe('recents', () => {
  test('latest first, each once, at most eight', () => {
    for (let i = 0; i < 12; i++)
      store.addRecent({ target: `sip:${i % 10}@x`, direction: 'out', ok: true, at: i });
    const targets = store.recents().map((r) => r.target);
    expect(targets).toHaveLength(8);
    expect(targets[0]).toBe('sip:1@x');
    expect(new Set(targets).size).toBe(8);
  });
  test('a peer called again moves to the front', () => {
    for (const [at, target] of ['sip:a@x', 'sip:b@x', 'sip:a@x'].entries()) {
      store.addRecent({ target, direction: 'out', ok: true, at });
    }
    expect(store.recents().map((r) => [r.target, r.at])).toEqual([
      ['sip:a@x', 2],
      ['sip:b@x', 1],
    ]);
  });
  test('foreign entries are dropped', () => {
    device.setItem(
      'isthmus.recents',
      JSON.stringify([{ target: 1 }, null, { target: 'sip:a@x', direction: 'in', ok: false, at: 1 }]),
    );
    expect(store.recents()).toHaveLength(1);
  });
});

describe('the tab', () => {
  test('its instance id survives a reload and differs in another tab', () => {
    let n = 0;
    const make = () => `00000000-0000-4000-8000-00000000000${++n}`;
    const first = store.instanceId(make);
    expect(new Store(device, tab).instanceId(make)).toBe(first);
    expect(new Store(device, new Memory()).instanceId(make)).not.toBe(first);
  });
  test('signing in is remembered for the tab only', () => {
    store.setSignedIn(true);
    expect(store.signedIn()).toBe(true);
    expect(new Store(device, new Memory()).signedIn()).toBe(false);
    store.setSignedIn(false);
    expect(store.signedIn()).toBe(false);
  });
});

test('forbidden and throwing storage leaves a working phone', () => {
  const broken: StorageLike = {
    getItem: () => {
      throw new Error('denied');
    },
    setItem: () => {
      throw new Error('full');
    },
    removeItem: () => {
      throw new Error('denied');
    },
  };
  for (const s of [new Store(broken, broken), new Store(undefined, undefined)]) {
    s.saveAccount(alice, DERIVED);
    s.setSignedIn(true);
    s.setSignedIn(false);
    expect(s.account(defaults)).toEqual(defaults);
    expect(s.recents()).toEqual([]);
    expect(s.theme()).toBe('auto');
    expect(s.shortcuts()).toBe(true);
    expect(s.instanceId(() => 'id')).toBe('id');
  }
  expect(
    storageOrNothing(() => {
      throw new Error('SecurityError');
    }),
  ).toBeUndefined();
});
