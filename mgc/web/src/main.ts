import './styles/base.css';
import './styles/phone.css';
import { loadConfig } from './core/config';
import { Store, storageOrNothing } from './core/storage';
import { type IsthmusHook, makeHook } from './hook';
import { AudioBench } from './media/audio';
import { Microphone } from './media/microphone';
import { Phone } from './sip/phone';
import { App } from './ui/app';
import { applyTheme } from './ui/theme';

declare global {
  interface Window {
    isthmus?: IsthmusHook;
  }
}

async function main(): Promise<void> {
  const store = new Store(
    storageOrNothing(() => window.localStorage),
    storageOrNothing(() => window.sessionStorage),
  );
  applyTheme(store.theme());
  const root = document.getElementById('app');
  if (!root) throw new Error('no #app in the page');
  const config = await loadConfig(window.location);
  const bench = new AudioBench();
  const microphone = new Microphone(() => bench.ctx);
  const phone = new Phone(config, bench, microphone, store.instanceId(newUuid));
  const app = new App(root, phone, config, store, bench);
  // The far end should not have to find out by silence that the page went away.
  window.addEventListener('pagehide', () => phone.hangUpAll());
  await bench.whenReady();
  window.isthmus = makeHook(
    phone,
    microphone,
    () => app.defaults(),
    (a) => phone.signIn(a),
    () => phone.signOut(),
  );
  app.start();
}

/** randomUUID exists on secure pages only; the phone signs in on others too. */
function newUuid(): string {
  if (typeof crypto.randomUUID === 'function') return crypto.randomUUID();
  const b = crypto.getRandomValues(new Uint8Array(16));
  b[6] = ((b[6] ?? 0) & 0x0f) | 0x40;
  b[8] = ((b[8] ?? 0) & 0x3f) | 0x80;
  const hex = [...b].map((x) => x.toString(16).padStart(2, '0')).join('');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

void main();
