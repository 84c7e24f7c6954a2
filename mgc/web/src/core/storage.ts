import type { Account, CodecChoice } from './account';

/** The subset of the Web Storage API used here, so that tests can give their own. */
export interface StorageLike {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
}

const ACCOUNT = 'isthmus.account';
const RECENTS = 'isthmus.recents';
const THEME = 'isthmus.theme';
const SHORTCUTS = 'isthmus.shortcuts';
const INSTANCE = 'isthmus.instance';
const SIGNED_IN = 'isthmus.signedIn';
const MAX_RECENTS = 8;

export type Theme = 'auto' | 'light' | 'dark';

export interface Recent {
  target: string;
  direction: 'in' | 'out';
  ok: boolean;
  /** Unix time in ms. */
  at: number;
}

/**
 * What the phone keeps on the device. `device` outlives the browser, `tab` one
 * tab (it survives a reload). Storage may be full, forbidden or hold rubbish:
 * reading then gives the defaults and writing does nothing.
 */
export class Store {
  constructor(
    private readonly device: StorageLike | undefined,
    private readonly tab: StorageLike | undefined,
  ) {}

  /** The remembered account; the password is empty unless the user chose to keep it. */
  account(defaults: Account): Account {
    const raw = readJson(this.device, ACCOUNT);
    if (typeof raw !== 'object' || raw === null) return defaults;
    const r = raw as Record<string, unknown>;
    const remember = r.remember === true;
    return {
      identity: str(r.identity, defaults.identity),
      displayName: str(r.displayName, defaults.displayName),
      password: remember ? str(r.password, '') : '',
      wsUrl: str(r.wsUrl, defaults.wsUrl),
      remember,
      processing: typeof r.processing === 'boolean' ? r.processing : defaults.processing,
      codec: isCodec(r.codec) ? r.codec : defaults.codec,
      sessionTimers: typeof r.sessionTimers === 'boolean' ? r.sessionTimers : defaults.sessionTimers,
    };
  }

  /**
   * Remembers the account. Without `remember` the password is not written, and
   * one written earlier is removed. A WebSocket URL equal to `derivedWsUrl` is
   * left out, so that the same account follows the page to another host.
   */
  saveAccount(a: Account, derivedWsUrl: string): void {
    const { password, wsUrl, token: _token, ...rest } = a;
    writeJson(this.device, ACCOUNT, {
      ...rest,
      ...(a.remember ? { password } : {}),
      ...(wsUrl !== derivedWsUrl ? { wsUrl } : {}),
    });
  }

  /** Latest first, each target once, at most 8. */
  recents(): Recent[] {
    const raw = readJson(this.device, RECENTS);
    return Array.isArray(raw) ? raw.filter(isRecent).slice(0, MAX_RECENTS) : [];
  }

  addRecent(r: Recent): Recent[] {
    const next = [r, ...this.recents().filter((old) => old.target !== r.target)].slice(0, MAX_RECENTS);
    writeJson(this.device, RECENTS, next);
    return next;
  }

  theme(): Theme {
    const t = read(this.device, THEME);
    return t === 'light' || t === 'dark' ? t : 'auto';
  }

  setTheme(t: Theme): void {
    write(this.device, THEME, t);
  }

  /** Whether single-key shortcuts are on (they are, unless switched off: WCAG 2.1.4). */
  shortcuts(): boolean {
    return read(this.device, SHORTCUTS) !== 'off';
  }

  setShortcuts(on: boolean): void {
    write(this.device, SHORTCUTS, on ? 'on' : 'off');
  }

  /**
   * The instance id of this tab (RFC 5626 §4.1): kept over reloads, so that a
   * reloaded page replaces its own binding; another per tab, so that two tabs
   * do not replace each other's.
   */
  instanceId(make: () => string): string {
    const known = read(this.tab, INSTANCE);
    if (known && /^[0-9a-f-]{36}$/i.test(known)) return known;
    const id = make();
    write(this.tab, INSTANCE, id);
    return id;
  }

  /** Whether this tab was signed in, so that a reload signs in again. */
  signedIn(): boolean {
    return read(this.tab, SIGNED_IN) === '1';
  }

  setSignedIn(on: boolean): void {
    if (on) write(this.tab, SIGNED_IN, '1');
    else remove(this.tab, SIGNED_IN);
  }
}

/** `localStorage`-like access that may throw on mere mention (blocked cookies). */
export function storageOrNothing(get: () => StorageLike): StorageLike | undefined {
  try {
    return get();
  } catch {
    return undefined;
  }
}

function read(s: StorageLike | undefined, key: string): string | null {
  try {
    return s?.getItem(key) ?? null;
  } catch {
    return null;
  }
}

function write(s: StorageLike | undefined, key: string, value: string): void {
  try {
    s?.setItem(key, value);
  } catch {
    // Full or forbidden: the phone works without memory.
  }
}

function remove(s: StorageLike | undefined, key: string): void {
  try {
    s?.removeItem(key);
  } catch {
    // As above.
  }
}

function readJson(s: StorageLike | undefined, key: string): unknown {
  try {
    return JSON.parse(read(s, key) ?? 'null');
  } catch {
    return null;
  }
}

function writeJson(s: StorageLike | undefined, key: string, value: unknown): void {
  write(s, key, JSON.stringify(value));
}

function str(v: unknown, fallback: string): string {
  return typeof v === 'string' && v !== '' ? v : fallback;
}

function isCodec(v: unknown): v is CodecChoice {
  return v === 'auto' || v === 'opus' || v === 'g722' || v === 'pcma' || v === 'pcmu';
}

function isRecent(v: unknown): v is Recent {
  if (typeof v !== 'object' || v === null) return false;
  const r = v as Record<string, unknown>;
  return (
    typeof r.target === 'string' &&
    (r.direction === 'in' || r.direction === 'out') &&
    typeof r.ok === 'boolean' &&
    typeof r.at === 'number'
  );
}
