// The phone in headless Chromium, remote-controlled by another program: one JSON object per line on standard input, one per
// line on standard output. Ends with its standard input.
//
//   {"id":1,"op":"open","page":"alice","args":[url, calm]} a tab with the phone, ready; calm draws little, for many tabs at once
//   {"id":2,"op":"call","page":"alice","fn":"dial","args":[target]}   window.isthmus.dial(target), or a property
//   {"id":3,"op":"reload","page":"alice"}                  loads the page again
//   {"id":4,"op":"close","page":"alice"}
//   {"id":5,"op":"shot","page":"alice","args":[path]}      a picture
//   {"id":6,"op":"run","page":"alice","args":[script]}     the value of a script in the page
// answers {"id":1,"result":...} or {"id":1,"error":"text"}; an uncaught error of a page comes as {"pageError":"text"}.
import { createInterface } from 'node:readline';
import { launch } from './chromium.mjs';

const browser = await launch();
const pages = new Map();
const say = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);

const ready = (page) => page.waitForFunction(() => window.isthmus);

const ops = {
  async open(name, url, calm) {
    const page = await browser.context.newPage();
    pages.set(name, page);
    if (calm) {
      await page.setViewportSize({ width: 360, height: 240 });
      await page.addInitScript(() => {
        window.requestAnimationFrame = (draw) => setTimeout(() => draw(performance.now()), 500);
      });
    }
    page.on('pageerror', (e) => say({ pageError: `${name}: ${e.stack}` }));
    await page.goto(url);
    await ready(page);
  },
  async reload(name) {
    await pages.get(name).reload();
    await ready(pages.get(name));
  },
  async close(name) {
    await pages.get(name).close({ runBeforeUnload: true });
    pages.delete(name);
  },
  async run(name, script) {
    return pages.get(name).evaluate(script);
  },
  async shot(name, path) {
    await pages.get(name).screenshot({ path });
  },
};

async function perform({ op, page, fn, args = [] }) {
  if (op !== 'call') return ops[op](page, ...args);
  return pages.get(page).evaluate(
    ([f, a]) => {
      const it = window.isthmus[f];
      return typeof it === 'function' ? it(...a) : it;
    },
    [fn, args],
  );
}

say({ id: 0, result: browser.context.browser()?.version() ?? '' });
for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  perform(request).then(
    (result) => say({ id: request.id, result: result ?? null }),
    (e) => say({ id: request.id, error: e.message }),
  );
}
await browser.close();
