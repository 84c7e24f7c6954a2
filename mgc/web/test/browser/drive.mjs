// Drives the built phone in headless Chromium against the stand-in gateway:
// `npm run build && npm run browser`. Every step asserts; pictures for the eye
// go to test/browser/out/. Ends with 1 when a step failed.
import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { startFake } from '../fake-server/server.mjs';
import { launch, until } from './chromium.mjs';

const OUT = fileURLToPath(new URL('./out/', import.meta.url));
const TONE = { alice: 1000, bob: 440, carol: 600 };
const only = process.argv[2];

const fake = await startFake();
const browser = await launch();
const complaints = [];
let failed = 0;

/** Opens the phone; everything the page complains about fails the run. */
async function open(options = {}) {
  const page = await browser.context.newPage();
  page.on('pageerror', (e) => complaints.push(e.stack));
  page.on('console', (m) => {
    if (m.type() === 'error' && !/ERR_CONNECTION_REFUSED|WebSocket connection to/.test(m.text()))
      complaints.push(m.text());
  });
  if (options.init) await page.addInitScript(options.init);
  await page.goto(options.url ?? fake.url);
  await page.waitForFunction(() => window.isthmus);
  return page;
}

async function user(name, password) {
  const page = await open();
  await page.evaluate((hz) => window.isthmus.setMicTone(hz), TONE[name]);
  await page.evaluate((a) => window.isthmus.register(a), { identity: name, password });
  return page;
}

const hook = (page, fn, arg) => page.evaluate(fn, arg);
const calls = (page) => page.evaluate(() => window.isthmus.calls());
const last = async (page) => (await calls(page)).at(-1);
/** A picture once colour transitions are over. */
const shot = async (page, name) => {
  await page.waitForTimeout(200);
  await page.screenshot({ path: `${OUT}${name}.png` });
};
const inState = (page, state) =>
  until(async () => (await last(page))?.state === state && (await last(page)), `a call ${state}`);
const tone = (page, id) => page.evaluate((i) => window.isthmus.remoteTone(i), id);
const hears = (page, id, hz) =>
  until(async () => Math.abs((await tone(page, id)).hz - hz) < 4, `${hz} Hz at ${id}`);
const hearsNothing = (page, id) => until(async () => (await tone(page, id)).rmsDb < -60, `silence at ${id}`);

async function connect(from, to, target) {
  const id = await hook(from, (t) => window.isthmus.dial(t), target);
  const there = await inState(to, 'incoming');
  await hook(to, (i) => window.isthmus.answer(i), there.id);
  await until(async () => (await calls(from)).find((c) => c.id === id)?.state === 'connected', 'connected');
  return { id, there: there.id };
}

async function step(name, fn) {
  if (only && !name.includes(only)) return;
  const from = performance.now();
  try {
    await fn();
    assert.deepEqual(complaints.splice(0), [], 'the page complained');
    console.log(`ok    ${name}  ${Math.round(performance.now() - from)} ms`);
  } catch (e) {
    failed += 1;
    complaints.length = 0;
    console.log(`FAIL  ${name}\n${e.stack}`);
  }
}

await mkdir(OUT, { recursive: true });
let alice = await open();
await alice.evaluate((hz) => window.isthmus.setMicTone(hz), TONE.alice);

await step('sign-in by keyboard: wrong password, then the right one', async () => {
  await shot(alice, 'signin');
  if (process.env.DOCS) {
    await alice.setViewportSize({ width: 480, height: 720 });
    await shot(alice, '../../../docs/signin');
    await alice.setViewportSize({ width: 1360, height: 860 });
  }
  await alice.fill('#password', 'wrong');
  await alice.press('#password', 'Enter');
  const problem = alice.locator('.problem');
  await problem.waitFor();
  assert.equal(await problem.getAttribute('data-code'), 'auth');
  assert.match(await problem.innerText(), /password/i);
  await shot(alice, 'wrong-password');
  await alice.fill('#password', 'wonderland');
  await alice.check('#remember');
  await alice.press('#password', 'Enter');
  await alice.waitForSelector('#dial');
  assert.equal(await alice.locator('.pill').innerText(), 'Ready');
  await shot(alice, 'ready');
});

const bob = await user('bob', 'builder');
const carol = await user('carol', 'christmas');
await alice.bringToFront();

await step('call: tones both ways, statistics, times', async () => {
  // The dial box has the focus: leave it, and come back by key.
  await alice.keyboard.press('Escape');
  await alice.keyboard.press('/');
  await alice.keyboard.type('bob');
  await alice.keyboard.press('Enter');
  const there = await inState(bob, 'incoming');
  await inState(alice, 'ringing');
  await shot(alice, 'ringing');
  await shot(bob, 'incoming');
  await bob.keyboard.press('Alt+a');
  const here = await inState(alice, 'connected');
  await Promise.all([hears(alice, here.id, TONE.bob), hears(bob, there.id, TONE.alice)]);
  const stats = await until(() => hook(alice, (i) => window.isthmus.lastStats(i), here.id), 'statistics');
  assert.match(stats.codecIn, /opus/i);
  assert.match(stats.localCandidate, /udp/);
  const m = await hook(alice, (i) => window.isthmus.metrics(i), here.id);
  console.log(
    `      dial to INVITE ${Math.round(m.inviteSentAt - m.dialledAt)} ms, answer to audio ${Math.round(m.firstAudioAt - m.answeredAt)} ms`,
  );
  assert.ok(
    m.dialledAt <= m.inviteSentAt &&
      m.inviteSentAt < m.ringingAt &&
      m.ringingAt < m.answeredAt &&
      m.answeredAt < m.firstAudioAt,
  );
  assert.ok(m.inviteSentAt - m.dialledAt < 250, 'the INVITE waits for candidates');
  const rungs = await alice.locator('.rungs .rung-title').allInnerTexts();
  assert.deepEqual(
    rungs.map((r) => r.split(' ')[0]),
    ['INVITE', '100', '180', '200', 'ACK'],
  );
});

await step('texts both ways, in a call; markup stays text', async () => {
  await hook(bob, () => window.isthmus.message('alice', 'Hello Alice, can you hear me?'));
  await alice.locator('.bubble-in').waitFor();
  await alice.fill('#text-body', 'Loud and clear.');
  await alice.press('#text-body', 'Enter');
  await until(
    async () => (await hook(bob, () => window.isthmus.messages().at(-1)?.text)) === 'Loud and clear.',
    'text at bob',
  );
  await until(() => hook(alice, () => window.isthmus.messages().at(-1).status === 'sent'), 'text delivered');
  await hook(bob, () => window.isthmus.message('carol', '<b>bold</b><img src=x onerror=alert(1)>'));
  await until(async () => (await carol.locator('.bubble').count()) === 1, 'text at carol');
  assert.match(await carol.locator('.bubble p').innerText(), /<b>bold<\/b><img/);
  assert.equal(await carol.locator('.bubble b, .bubble img').count(), 0);
  await alice.locator('h2.peer').focus();
});

await step('the picture of a call', async () => {
  await alice.waitForTimeout(process.env.DOCS ? 40_000 : 8000);
  await shot(alice, 'call');
  if (process.env.DOCS) {
    await alice.setViewportSize({ width: 1240, height: 720 });
    await shot(alice, '../../../docs/call');
    await alice.setViewportSize({ width: 1360, height: 860 });
  }
  await alice.locator('button[aria-label^="Switch between"]').click();
  await shot(alice, 'call-dark');
  await alice.locator('button[aria-label^="Switch between"]').click();
});

await step('mute and unmute by key', async () => {
  await alice.locator('h2.peer').focus();
  await alice.keyboard.press('m');
  await hearsNothing(bob, 'c1');
  await alice.keyboard.press('m');
  await hears(bob, 'c1', TONE.alice);
});

await step('hold and resume by key', async () => {
  await alice.keyboard.press('h');
  await until(async () => (await last(bob)).remoteHold, 'bob on hold');
  await hearsNothing(bob, 'c1');
  await shot(alice, 'held');
  await alice.keyboard.press('h');
  await until(async () => !(await last(bob)).remoteHold, 'bob resumed');
  await Promise.all([hears(bob, 'c1', TONE.alice), hears(alice, 'c1', TONE.bob)]);
});

await step('a refused hold leaves the call as it was', async () => {
  fake.control.refuseReinvite = true;
  await hook(alice, () => window.isthmus.hold('c1'));
  await until(
    () =>
      hook(alice, () =>
        window.isthmus.events.some((e) => e.kind === 'trouble' && e.detail.code === 'hold-refused'),
      ),
    'the refusal told',
  );
  fake.control.refuseReinvite = false;
  assert.equal((await last(alice)).localHold, false);
  await Promise.all([hears(bob, 'c1', TONE.alice), hears(alice, 'c1', TONE.bob)]);
  await hook(alice, () => window.isthmus.hold('c1'));
  await until(async () => (await last(bob)).remoteHold, 'a later hold still works');
  await hook(alice, () => window.isthmus.resume('c1'));
  await hears(bob, 'c1', TONE.alice);
});

await step('DTMF by key and by pad goes out as RFC 4733 events', async () => {
  const sent = () =>
    hook(alice, () =>
      window.isthmus.events
        .filter((e) => e.kind === 'tone')
        .map((e) => e.detail.tone)
        .join(''),
    );
  await alice.locator('h2.peer').focus();
  await alice.keyboard.press('5');
  await until(async () => (await sent()) === '5', 'tone 5');
  await alice.keyboard.press('k');
  await alice.locator('.stage .key[data-key="#"]').click();
  await until(async () => (await sent()) === '5#', 'tone #');
  assert.equal(await alice.locator('.stage .pad-sent').innerText(), '5#');
  assert.equal(
    await hook(alice, () => window.isthmus.events.filter((e) => e.detail.method === 'INFO').length),
    0,
  );
  await shot(alice, 'keypad');
  await alice.locator('h2.peer').focus();
  await alice.keyboard.press('k');
});

await step('a second call: waiting, answered, switched, ended', async () => {
  await hook(carol, () => window.isthmus.dial('alice'));
  await until(async () => (await calls(alice)).some((c) => c.state === 'incoming'), 'carol rings');
  await shot(alice, 'call-waiting');
  await alice.locator('#dial').focus();
  await alice.keyboard.press('Alt+a');
  const second = await inState(alice, 'connected');
  await hears(alice, second.id, TONE.carol);
  await until(async () => (await last(bob)).remoteHold, 'bob held');
  await hearsNothing(bob, 'c1');
  await shot(alice, 'two-calls');
  await alice.locator('h2.peer').focus();
  await alice.keyboard.press('s');
  await until(async () => (await last(carol)).remoteHold, 'carol held');
  await hears(bob, 'c1', TONE.alice);
  assert.equal((await calls(alice)).filter((c) => c.state === 'connected').length, 2);
  await hook(carol, () => window.isthmus.hangup('c1'));
  await until(
    async () => (await calls(alice)).filter((c) => c.state === 'connected').length === 1,
    'carol gone',
  );
  await hears(alice, 'c1', TONE.bob);
});

await step('the WebSocket breaks: the call goes on, the phone registers again', async () => {
  fake.dropAll();
  await until(
    () => hook(alice, () => window.isthmus.state().registration === 'reconnecting'),
    'loss noticed',
  );
  await alice.locator('.notice').waitFor();
  await shot(alice, 'reconnecting');
  await hears(alice, 'c1', TONE.bob);
  for (const p of [alice, bob, carol]) {
    await until(
      () => hook(p, () => window.isthmus.state().registration === 'registered'),
      'registered again',
      20_000,
    );
  }
  await hears(alice, 'c1', TONE.bob);
});

await step('hang up by key; both sides know', async () => {
  await alice.locator('h2.peer').focus();
  await alice.keyboard.press('e');
  await inState(bob, 'ended');
  const ended = await inState(alice, 'ended');
  assert.equal(ended.failure, null);
  await shot(alice, 'ended');
});

await step('refusals are told in words', async () => {
  const want = {
    busy: ['busy', 486],
    decline: ['declined', 603],
    nobody: ['not-found', 404],
    full: ['no-capacity', 503],
    offline: ['unavailable', 480],
    silent: ['timeout', 408],
    video: ['no-media', 488],
  };
  for (const [target, [code, status]] of Object.entries(want)) {
    const id = await hook(alice, (t) => window.isthmus.dial(t), target);
    const c = await until(
      async () => (await calls(alice)).find((x) => x.id === id && x.state === 'ended'),
      `${target} ended`,
    );
    assert.equal(c.failure?.code, code);
    assert.equal(c.failure?.status, status);
    assert.equal(await alice.locator('.stage-over h2').innerText(), c.failure.title);
    await shot(alice, `refused-${target}`);
    if (target === 'full') assert.match(c.failure.detail, /30 seconds/);
  }
});

await step('cancel while ringing; the callee has a missed call', async () => {
  const id = await hook(alice, () => window.isthmus.dial('bob'));
  await inState(bob, 'incoming');
  await hook(alice, (i) => window.isthmus.hangup(i), id);
  const missed = await inState(bob, 'ended');
  assert.equal(missed.endTitle, 'Missed call');
  assert.equal((await last(alice)).endTitle, 'Call cancelled');
});

await step('rejected by key', async () => {
  await hook(alice, () => window.isthmus.dial('bob'));
  await inState(bob, 'incoming');
  await bob.keyboard.press('Alt+r');
  assert.equal((await inState(alice, 'ended')).failure.code, 'busy');
});

await step('transfer: bob is handed on to carol by button, told so, and follows', async () => {
  const { id, there } = await connect(alice, bob, 'bob');
  await hears(alice, id, TONE.bob);
  await alice.bringToFront();
  await alice.keyboard.press('Escape');
  await alice.keyboard.press('x');
  await shot(alice, 'transfer');
  await alice.locator('.transfer input').fill('carol');
  await alice.keyboard.press('Enter');
  await until(
    async () => (await calls(bob)).find((c) => c.id === there)?.referredTo?.startsWith('sip:carol@'),
    'the referral at bob',
  );
  await bob.bringToFront();
  await shot(bob, 'referral');
  await bob.getByRole('button', { name: 'Connect me' }).click();
  const carols = await inState(carol, 'incoming');
  await hook(carol, (i) => window.isthmus.answer(i), carols.id);
  await hears(carol, carols.id, TONE.bob);
  await until(
    async () => (await calls(alice)).find((c) => c.id === id)?.endTitle === 'Call transferred',
    'the end of the transferred call',
  );
  await alice.bringToFront();
  await shot(alice, 'transferred');
  await hook(carol, (i) => window.isthmus.hangup(i), carols.id);
});

await step('transfer: alice connects bob and carol; carol does not have to answer again', async () => {
  const first = await connect(alice, bob, 'bob');
  const second = await connect(alice, carol, 'carol');
  await alice.keyboard.press('Escape');
  await alice.keyboard.press('x');
  const button = alice.getByRole('button', { name: 'Connect with bob' });
  await button.waitFor();
  await shot(alice, 'transfer-connect');
  await button.click();
  await until(
    async () => (await calls(carol)).find((c) => c.id === second.there)?.referredTo?.startsWith('sip:bob@'),
    'the referral at carol',
  );
  await hook(carol, (i) => window.isthmus.follow(i), second.there);
  const joined = await until(
    async () => (await calls(bob)).find((c) => c.id !== first.there && c.state === 'connected'),
    'the joined call at bob',
  );
  await hears(bob, joined.id, TONE.carol);
  await until(async () => (await calls(alice)).every((c) => c.state === 'ended'), 'the end of both calls');
  await hook(bob, (i) => window.isthmus.hangup(i), joined.id);
});

await step('transfer: a referral that bob declines leaves the call as it is', async () => {
  const { id, there } = await connect(alice, bob, 'bob');
  await hook(alice, (i) => window.isthmus.transfer(i, 'carol'), id);
  await until(async () => (await calls(bob)).find((c) => c.id === there)?.referredTo, 'the referral at bob');
  await hook(bob, (i) => window.isthmus.stay(i), there);
  await alice.locator('.toast[data-code="transfer-failed"]').waitFor();
  await hears(alice, id, TONE.bob);
  await hook(alice, (i) => window.isthmus.hangup(i), id);
});

await step('reload: the phone signs in again by itself, the peer is told', async () => {
  const { there } = await connect(alice, bob, 'bob');
  await alice.reload();
  await alice.waitForFunction(() => window.isthmus?.state().registration === 'registered');
  await until(async () => (await calls(bob)).find((c) => c.id === there)?.state === 'ended', 'bob told');
  await alice.evaluate((hz) => window.isthmus.setMicTone(hz), TONE.alice);
  const again = await connect(bob, alice, 'alice');
  await hears(alice, again.there, TONE.bob);
  await hook(bob, (i) => window.isthmus.hangup(i), again.id);
  await inState(alice, 'ended');
});

await step('no password in storage without the tick, and none in the ladder', async () => {
  const page = await open();
  await page.evaluate(() => localStorage.clear());
  await page.reload();
  await page.waitForFunction(() => window.isthmus);
  await page.fill('#identity', 'carol');
  await page.fill('#password', 'christmas');
  await page.press('#password', 'Enter');
  await page.waitForSelector('#dial');
  const kept = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }]));
  assert.ok(!kept.includes('christmas'), kept);
  assert.match(kept, /carol/);
  await page.locator('#ladder-only').uncheck();
  const auth = page.locator('.rung', { hasText: 'REGISTER sip' }).nth(1);
  await auth.click();
  const text = await page.locator('.rungs pre:visible').textContent();
  assert.match(text, /Authorization: Digest .*response="…"/);
  await page.close();
});

await step('microphone denied or missing', async () => {
  for (const [name, code] of [
    ['NotAllowedError', 'mic-denied'],
    ['NotFoundError', 'mic-missing'],
  ]) {
    const page = await open({
      init: `navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('no', '${name}'))`,
    });
    await page.evaluate(() => window.isthmus.register({ identity: 'carol', password: 'christmas' }));
    await page.fill('#dial', 'bob');
    await page.press('#dial', 'Enter');
    await page.locator(`.toast[data-code="${code}"]`).waitFor();
    await shot(page, code);
    assert.equal((await calls(page)).length, 0);
    await page.close();
  }
});

await step('no gateway, wrong path, wrong address', async () => {
  const page = await open();
  const outcomes = [];
  for (const wsUrl of ['ws://localhost:1/sip', `${fake.url.replace('http', 'ws')}elsewhere`]) {
    await page.locator('summary').click();
    await page.fill('#ws-url', wsUrl);
    await page.press('#ws-url', 'Enter');
    await page.locator('.problem').waitFor();
    outcomes.push(await page.locator('.problem').getAttribute('data-code'));
    await shot(page, `socket-${outcomes.at(-1)}`);
    await page.getByRole('button', { name: 'Cancel' }).click();
    await page.locator('summary').click();
  }
  assert.deepEqual(outcomes, ['unreachable', 'ws-refused']);
  await page.close();
});

await step('phone-sized screen: nothing overflows, everything is reachable', async () => {
  await alice.close();
  alice = await open();
  await alice.setViewportSize({ width: 360, height: 640 });
  await alice.evaluate((hz) => window.isthmus.setMicTone(hz), TONE.alice);
  const fits = async (name) => {
    const wide = await alice.evaluate(() =>
      Math.max(
        ...[...document.querySelectorAll('body *')]
          .filter((e) => e.checkVisibility() && !e.closest('.rungs, .threads, .sr-only'))
          .map((e) => e.getBoundingClientRect().right),
      ),
    );
    await shot(alice, `small-${name}`);
    assert.ok(wide <= 360.5, `${name} reaches to ${wide} px`);
  };
  await alice.waitForTimeout(300);
  await fits('signin');
  await alice.evaluate(() => window.isthmus.register({ identity: 'alice', password: 'wonderland' }));
  await fits('dial');
  const { id } = await connect(bob, alice, 'alice');
  await until(() => hook(alice, () => window.isthmus.calls()[0].state === 'connected'), 'connected');
  await new Promise((r) => setTimeout(r, 6000));
  await fits('call');
  if (process.env.DOCS) await shot(alice, '../../../docs/small');
  await hook(carol, () => window.isthmus.dial('alice'));
  await until(async () => (await calls(alice)).some((c) => c.state === 'incoming'), 'carol rings');
  await fits('waiting');
  await alice.locator('.incoming-bar .danger').click();
  await hook(bob, () => window.isthmus.message('alice', 'On my way'));
  await alice.locator('.tab', { hasText: 'Messages' }).click();
  await fits('messages');
  await alice.locator('.tab', { hasText: 'SIP' }).click();
  await fits('sip');
  await hook(bob, (i) => window.isthmus.hangup(i), id);
  await alice.setViewportSize({ width: 900, height: 760 });
  await shot(alice, 'medium');
});

await step('a page over plain http from another host signs in and says why it cannot call', async () => {
  const other = await launch({ args: ['--host-resolver-rules=MAP phone.test 127.0.0.1'] });
  const page = await other.context.newPage();
  page.on('pageerror', (e) => complaints.push(e.stack));
  await page.goto(fake.url.replace('localhost', 'phone.test'));
  await page.waitForFunction(() => window.isthmus);
  assert.equal(await page.evaluate(() => window.isSecureContext), false);
  await page.click('button[type=submit]');
  await page.waitForSelector('#dial');
  await page.fill('#dial', 'bob');
  await page.press('#dial', 'Enter');
  await page.locator('.toast[data-code="insecure"]').waitFor();
  await shot(page, 'insecure');
  await other.close();
});

await step('sound that the browser holds back is offered by a button', async () => {
  // Automation counts as a user gesture, so the refusal itself is played by a stand-in.
  const page = await open({
    init: `
      const play = HTMLMediaElement.prototype.play;
      let touched = false;
      document.addEventListener('pointerdown', () => { touched = true; }, true);
      HTMLMediaElement.prototype.play = function () {
        return touched ? play.call(this) : Promise.reject(new DOMException('no gesture', 'NotAllowedError'));
      };`,
  });
  await page.evaluate(() => window.isthmus.register({ identity: 'carol', password: 'christmas' }));
  const { id } = await connect(bob, page, 'carol');
  const button = page.getByRole('button', { name: /Sound is blocked/ });
  await button.waitFor();
  await shot(page, 'sound-blocked');
  await button.click();
  await button.waitFor({ state: 'hidden' });
  assert.equal(await page.evaluate(() => document.querySelector('audio').paused), false);
  // This page has no stand-in tone: what bob hears is the beep of Chromium's fake microphone.
  await until(async () => (await tone(bob, id)).rmsDb > -50, 'the microphone');
  await hook(bob, (i) => window.isthmus.hangup(i), id);
  await page.close();
});

await browser.close();
await fake.close();
console.log(failed ? `${failed} failed` : 'all good');
process.exit(failed ? 1 : 0);
