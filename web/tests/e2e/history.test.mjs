// Uses the chat from several pages and through restarts: conversations and answers are the server's.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { accessible, answered, browser, say, server } from './harness.mjs';

let opened;
before(async () => (opened = await browser()));
after(async () => opened?.stop());

/** A test with a server of its own; each page is another device of one person. */
function journey(name, walk, ...flags) {
  test(name, { timeout: 60_000 }, async () => {
    const served = await server(...flags);
    const pages = [];
    const device = async (path = '') => {
      const page = await opened.page({}, `${served.url}/${path}`);
      page.setDefaultTimeout(20_000);
      pages.push(page);
      return page;
    };
    try {
      await walk(device, served);
      for (const page of pages) assert.deepEqual(page.faults, []);
    } finally {
      for (const page of pages) await page.context().close();
      await served.stop();
    }
  });
}

const log = (page) => page.getByRole('log');
const lastAnswer = (page) => page.locator('article.assistant').last();
const hash = (page) => new URL(page.url()).hash;
/** What the page said when its server was away. */
const forgive = (page) => (page.faults.length = 0);

journey('an answer goes on through a reload, and a second device sees it', async (device) => {
  const page = await device();
  await say(page, 'Stop me', { wait: false });
  await log(page).getByText('One two').waitFor();
  const other = await device(hash(page));
  await log(other).getByText('One two').waitFor();
  assert.equal(await log(other).getAttribute('aria-busy'), 'true');
  await page.reload();
  await log(page).getByText('One two').waitFor();
  assert.equal(await log(page).getAttribute('aria-busy'), 'true');
  await answered(page);
  await answered(other);
  for (const shown of [page, other]) {
    assert.match(await lastAnswer(shown).innerText(), /^One two.*nineteen twenty\./s);
    assert.equal(await shown.locator('article').count(), 2);
  }
  await page.reload();
  await log(page).getByText('nineteen twenty.').waitFor();
  assert.match(await lastAnswer(page).locator('.measures').innerText(), /tokens\/s/);
});

journey('stop stops on the server, for every device', async (device, served) => {
  const page = await device();
  await say(page, 'Stop me', { wait: false });
  await log(page).getByText('One two').waitFor();
  const other = await device(hash(page));
  await log(other).getByText('One two').waitFor();
  await other.keyboard.press('Escape');
  await page.getByText('Stopped.').waitFor();
  await other.getByText('Stopped.').waitFor();
  const text = await lastAnswer(page).innerText();
  assert.equal(await lastAnswer(other).innerText(), text);
  assert.doesNotMatch(text, /twenty/);
  const metrics = await (await fetch(`${served.url}/metrics`)).text();
  assert.match(metrics, /^vllm:num_requests_running\S* 0/m);
});

journey('an answer ends although nobody listens, and another device reads it', async (device) => {
  const page = await device();
  await say(page, 'Think about it', { wait: false });
  await log(page)
    .getByRole('button', { name: /Thinking/ })
    .waitFor();
  const path = hash(page);
  await page.goto('about:blank');
  const other = await device(path);
  await answered(other);
  assert.match(await lastAnswer(other).innerText(), /Thought for.*forty-two/s);
});

journey('search finds titles and messages, Chinese ones too', async (device) => {
  const page = await device();
  await say(page, '用中文解释注意力');
  const other = await device();
  await other.keyboard.press('Control+k');
  for (const [words, found] of [
    ['缩放', '缩放点积'],
    ['用中文', '用中文解释注意力'],
  ]) {
    await other.getByRole('dialog').locator('input').fill(words);
    await other.getByRole('dialog').getByText(found).first().waitFor();
  }
  await accessible(other, 'search on the server');
});

journey('a title comes from the model, and a change reaches the other device', async (device) => {
  const page = await device();
  await say(page, 'Name me.');
  await page.getByRole('link', { name: 'A quiet name' }).waitFor();
  const other = await device(hash(page));
  await other.getByRole('link', { name: 'A quiet name' }).waitFor();
  await say(page, 'And more?');
  await other.evaluate(() => dispatchEvent(new Event('focus')));
  await log(other).getByText('And more?').waitFor();
});

journey('an export is imported again', async (device) => {
  const page = await device();
  await say(page, 'First of all');
  await page.getByRole('button', { name: 'Settings', exact: true }).click();
  const [file] = await Promise.all([
    page.waitForEvent('download'),
    page.getByRole('button', { name: 'Export all' }).click(),
  ]);
  const path = await file.path();
  assert.equal(JSON.parse(await readFile(path, 'utf8')).records.length, 1);
  await page.locator('input[type=file]').setInputFiles(path);
  await page.getByText('1 conversation imported.').waitFor();
  await accessible(page, 'settings of a chat on the server');
  await page.keyboard.press('Escape');
  assert.equal(await page.getByRole('link', { name: 'First of all' }).count(), 2);
});

journey('conversations outlive a server that is killed in mid-answer', async (device, served) => {
  const page = await device();
  await say(page, 'Kept for ever');
  await say(page, 'Stop me', { wait: false });
  await log(page).getByText('One two three four five six seven').waitFor();
  await served.restart();
  // The page takes the answer up again, and learns what became of it.
  await page.getByText('The server was stopped while it answered.').waitFor();
  assert.match(await lastAnswer(page).innerText(), /One two/);
  forgive(page);
  const other = await device(hash(page));
  await log(other).getByText('Kept for ever').waitFor();
  await other.getByText('The server was stopped while it answered.').waitFor();
  await other.getByRole('button', { name: 'Try again' }).click();
  await log(other).getByText('One two three').last().waitFor();
});

journey('the page is calm while the server is away', async (device, served) => {
  const page = await device();
  await say(page, 'Hello');
  await page.context().setOffline(true);
  await say(page, 'Are you there?', { wait: false });
  await page
    .getByText(/The server cannot be reached/)
    .first()
    .waitFor();
  await accessible(page, 'a server that is away');
  await page.context().setOffline(false);
  await page.getByRole('button', { name: 'Try again' }).click();
  await log(page).getByText('Hello there.').nth(1).waitFor();
  forgive(page);
  const other = await device(hash(page));
  await log(other).getByText('Are you there?').waitFor();
  assert.equal(await other.locator('article').count(), 4);
  assert.ok(served.url);
});

journey('a link shows a copy to a stranger, until it is taken back', async (device, served) => {
  const page = await device();
  await say(page, 'Plan a quiet weekend');
  const menu = () => page.getByRole('button', { name: /^Options for/ }).click();
  await menu();
  await page.getByRole('menuitem', { name: 'Share a link…' }).click();
  await page.getByRole('button', { name: 'Make a link' }).click();
  const link = await page.getByRole('textbox', { name: 'Link' }).inputValue();
  assert.ok(link.startsWith(`${served.url}/#/s/`), link);
  await accessible(page, 'sharing');
  await page.keyboard.press('Escape');

  const stranger = await page
    .context()
    .browser()
    .newPage({ viewport: { width: 320, height: 640 } });
  await stranger.goto(link);
  await stranger.getByRole('heading', { name: 'Plan a quiet weekend' }).waitFor();
  await stranger.getByText('Here is a slow weekend').waitFor();
  assert.equal(await stranger.getByRole('textbox').count(), 0);
  assert.equal(await stranger.getByText('Quiet means few people').count(), 0);
  await accessible(stranger, 'a shared conversation');
  const wide = await stranger.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(wide <= 320, `${wide} pixels`);

  await menu();
  await page.getByRole('menuitem', { name: 'Share a link…' }).click();
  await page.getByRole('button', { name: 'Take the link back' }).click();
  await page.getByRole('button', { name: 'Make a link' }).waitFor();
  await stranger.reload();
  await stranger.getByText(/This link opens nothing/).waitFor();
  await stranger.close();
});

journey(
  'conversations of the browser move to the server once it keeps some',
  async (device, served) => {
    const page = await device();
    await say(page, 'From the browser');
    await served.restart();
    await page.reload();
    await page.getByRole('button', { name: 'Move to the server' }).waitFor();
    await accessible(page, 'the offer');
    await page.getByRole('button', { name: 'Move to the server' }).click();
    await page.getByRole('link', { name: 'From the browser' }).click();
    await log(page).getByText('Hello there.').waitFor();
    forgive(page);
    await page.reload();
    await log(page).getByText('Hello there.').waitFor();
    assert.equal(await page.getByRole('button', { name: 'Move to the server' }).count(), 0);
    const other = await device();
    await other.getByRole('link', { name: 'From the browser' }).waitFor();
  },
  '--no-store',
);
