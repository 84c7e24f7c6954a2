// Headless Chromium with a fake microphone and an empty profile.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const FLAGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--use-fake-device-for-media-stream',
  '--use-fake-ui-for-media-stream',
  '--autoplay-policy=no-user-gesture-required',
  '--allow-loopback-in-peer-connection',
];

/** CHROMIUM_FLAGS: more flags, and with an exclamation mark those of the above that are not wanted. */
const given = process.env.CHROMIUM_FLAGS?.split(' ') ?? [];
const more = given.filter((flag) => !flag.startsWith('!'));
const without = given.filter((flag) => flag.startsWith('!')).map((flag) => flag.slice(1));

/** One browser with its own profile; `close` removes the profile too. */
export async function launch(options = {}) {
  const profile = await mkdtemp(join(tmpdir(), 'isthmus-phone-'));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: [...FLAGS, ...(options.args ?? []), ...more].filter((flag) => !without.includes(flag)),
    viewport: { width: 1360, height: 860 },
    ...options.context,
  });
  return {
    context,
    async close() {
      await context.close();
      await rm(profile, { recursive: true, force: true });
    },
  };
}

/** Polls `fn` until it gives something true; fails with `what` after `ms`. */
export async function until(fn, what, ms = 8000) {
  const deadline = Date.now() + ms;
  let last;
  do {
    last = await fn();
    if (last) return last;
    await new Promise((resolve) => setTimeout(resolve, 50));
  } while (Date.now() < deadline);
  throw new Error(`gave up waiting: ${what}; last: ${JSON.stringify(last)}`);
}
