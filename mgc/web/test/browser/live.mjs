/* global fetch */
// Drives the phone in headless Chromium through the real gateway: `make test` runs it while isthmus-try keeps MGC, MGW and the
// demo core up. What both ends hear is told apart by frequency. Ends with 1 when a step failed.
import assert from 'node:assert/strict';
import { launch, until } from './chromium.mjs';

const PAGE = process.argv[2] ?? 'http://localhost:8080/';
const STATUS = process.argv[3] ?? 'http://127.0.0.1:5080/status';
const MIC = 620;

const browser = await launch();
const page = await browser.context.newPage();
let failed = 0;

const call = (id) => page.evaluate((i) => window.isthmus.calls().find((c) => c.id === i), id);
const inState = (id, state) => until(async () => (await call(id))?.state === state, `call ${state}`);
const dial = (to) => page.evaluate((t) => window.isthmus.dial(t), `sip:${to}@isthmus.example`);
const hears = (id, hz) =>
  until(
    async () => Math.abs((await page.evaluate((i) => window.isthmus.remoteTone(i), id)).hz - hz) < 5,
    `${hz} Hz in the browser`,
  );
const far = async () => (await (await fetch(STATUS)).json()).media?.at(-1);
const farHears = (hz) =>
  until(async () => Math.abs(((await far())?.last.freq_hz ?? 0) - hz) < 15, `${hz} Hz at the far end`);
const hangup = async (id) => {
  await page.evaluate((i) => window.isthmus.hangup(i), id);
  await until(async () => (await far())?.state === 'ended', 'the far end to be hung up');
};

async function step(name, run) {
  try {
    const note = await run();
    console.log(`ok   ${name}${note ? `  ${note}` : ''}`);
  } catch (e) {
    failed++;
    console.log(`FAIL ${name}\n${e.stack}`);
  }
}

await step('register', async () => {
  await page.goto(PAGE);
  await page.waitForFunction(() => window.isthmus);
  await page.evaluate((hz) => window.isthmus.setMicTone(hz), MIC);
  await page.evaluate(() => window.isthmus.register({ identity: 'alice', password: 'wonderland' }));
});

const times = [];
for (let n = 0; n < 3; n++)
  await step('call, tone both ways, hang up', async () => {
    const id = await dial('tone');
    await hears(id, 1000);
    await farHears(MIC);
    const m = await page.evaluate((i) => window.isthmus.metrics(i), id);
    times.push(m.inviteToAudioMs);
    await hangup(id);
    return `INVITE to audio ${Math.round(m.inviteToAudioMs)} ms`;
  });

await step('DTMF reaches the far end', async () => {
  const id = await dial('tone');
  await hears(id, 1000);
  await page.evaluate((i) => window.isthmus.dtmf(i, '159#'), id);
  await until(async () => (await far())?.digits === '159#', 'the digits 159#');
  await hangup(id);
});

await step('hold and resume', async () => {
  const id = await dial('tone');
  await hears(id, 1000);
  await page.evaluate((i) => window.isthmus.hold(i), id);
  await until(
    async () => ['recvonly', 'inactive'].includes((await far())?.local_direction),
    'hold at the far end',
  );
  await page.evaluate((i) => window.isthmus.resume(i), id);
  await until(async () => (await far())?.local_direction === 'sendrecv', 'resume at the far end');
  await hears(id, 1000);
  await farHears(MIC);
  await hangup(id);
});

await step('busy', async () => {
  const id = await dial('busy');
  await until(async () => !(await call(id)) || (await call(id)).state === 'ended', 'the refused call to end');
});

await step('give up while it rings', async () => {
  const id = await dial('noanswer');
  await until(async () => ['ringing', 'progress', 'early'].includes((await call(id))?.state), 'ringing');
  await page.evaluate((i) => window.isthmus.hangup(i), id);
  await until(async () => {
    const calls = (await (await fetch(STATUS)).json()).calls;
    return calls.at(-1).state === 'ended' && calls.at(-1).code === 487;
  }, 'the core to see 487');
});

await step('the core calls the browser', async () => {
  const known = new Set((await page.evaluate(() => window.isthmus.calls())).map((c) => c.id));
  const first = await dial('callback');
  known.add(first);
  await inState(first, 'connected');
  await page.evaluate((i) => window.isthmus.hangup(i), first);
  const incoming = () =>
    page.evaluate(
      (k) => window.isthmus.calls().find((c) => !k.includes(c.id) && c.state === 'incoming'),
      [...known],
    );
  await until(incoming, 'the call back');
  const { id } = await incoming();
  await page.evaluate((i) => window.isthmus.answer(i), id);
  await inState(id, 'connected');
  await farHears(MIC);
  await page.evaluate((i) => window.isthmus.hangup(i), id);
});

await step('message and its echo', async () => {
  await page.evaluate(() => window.isthmus.message('sip:echo@isthmus.example', 'hello'));
  await until(
    () => page.evaluate(() => JSON.stringify(window.isthmus.messages?.() ?? []).split('hello').length > 2),
    'the reply',
  );
});

await step('the page is loaded again and calls again', async () => {
  await page.reload();
  await page.waitForFunction(() => window.isthmus);
  await page.evaluate((hz) => window.isthmus.setMicTone(hz), MIC);
  await page.evaluate(() => window.isthmus.register({ identity: 'alice', password: 'wonderland' }));
  const { registrations } = await (await fetch(STATUS)).json();
  assert.equal(
    registrations.filter((r) => r.user.startsWith('alice')).length,
    1,
    JSON.stringify(registrations),
  );
  const id = await dial('tone');
  await hears(id, 1000);
  await farHears(MIC);
  await hangup(id);
});

await step('nothing of WebRTC reached the core', async () => {
  assert.deepEqual((await (await fetch(STATUS)).json()).violations ?? [], []);
});

await browser.close?.();
times.sort((a, b) => a - b);
console.log(
  JSON.stringify({ invite_to_audio_median_ms: Math.round(times[times.length >> 1] ?? -1), failed }),
);
process.exit(failed ? 1 : 0);
