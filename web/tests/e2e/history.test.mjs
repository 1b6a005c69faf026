// Uses the chat from several pages and through restarts: conversations and answers are the server's.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before } from 'node:test';
import { pair } from './pair.mjs';
import { accessible, answered, attempt, becomes, browser, say, server } from './harness.mjs';

let opened;
before(async () => (opened = await browser()));
after(async () => opened?.stop());

/** A journey with a server of its own; each page is another device of one person. */
function journey(name, walk, start = () => server()) {
  attempt(name, async (later) => {
    const served = await start();
    later(served.stop);
    const pages = [];
    const device = async (path = '') => {
      const page = await opened.page({}, `${served.url}/${path}`);
      later(() => page.context().close());
      pages.push(page);
      return page;
    };
    await walk(device, served);
    for (const page of pages) assert.deepEqual(page.faults, []);
  });
}

const log = (page) => page.getByRole('log');
const lastAnswer = (page) => page.locator('article.assistant').last();
const hash = (page) => new URL(page.url()).hash;
const TAKEN_UP_MS_MAX = 90_000;
/** What the page said when its server was away. */
const forgive = (page) => (page.faults.length = 0);

journey('an answer goes on through a reload, and a second device sees it', async (device) => {
  const page = await device();
  await say(page, 'Take your time', { wait: false });
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
    await becomes(() => shown.locator('article').count(), 2);
  }
  await page.reload();
  await log(page).getByText('nineteen twenty.').waitFor();
  assert.match(await lastAnswer(page).locator('.measures').innerText(), /tokens\/s/);
});

journey('stop stops on the server, for every device', async (device, served) => {
  const page = await device();
  await say(page, 'Take your time', { wait: false });
  await log(page).getByText('One two').waitFor();
  const other = await device(hash(page));
  await log(other).getByText('One two').waitFor();
  await other.keyboard.press('Escape');
  await page.getByText('Stopped.').waitFor();
  await other.getByText('Stopped.').waitFor();
  const text = await lastAnswer(page).innerText();
  await becomes(() => lastAnswer(other).innerText(), text);
  assert.doesNotMatch(text, /twenty/);
  const metrics = async () => (await fetch(`${served.url}/metrics`)).text();
  await becomes(async () => /^vllm:num_requests_running\S* 0/m.test(await metrics()), true);
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

journey(
  'what another device has changed appears with the next look at the window',
  async (device) => {
    const page = await device();
    await say(page, 'Stays here');
    const other = await device();
    const links = (shown) => shown.getByRole('navigation').getByRole('link');
    const titles = async (shown) => (await links(shown).allInnerTexts()).map((text) => text.trim());
    const [before] = await titles(other);
    /** What the first device lists when its window is looked at again. */
    const looked = async () => {
      await page.evaluate(() => dispatchEvent(new Event('focus')));
      return titles(page);
    };
    await say(other, 'Think about it');
    const rename = async (from, to) => {
      await other.getByRole('button', { name: `Options for “${from}”` }).click();
      await other.getByRole('menuitem', { name: 'Rename' }).click();
      await other.getByLabel('Title').fill(to);
      await other.keyboard.press('Enter');
      await other.getByRole('link', { name: to }).waitFor();
    };
    await rename(before, 'Another name');
    await becomes(async () => (await looked()).includes('Another name'), true);
    await becomes(async () => (await titles(page)).length, 2);
    await other.getByRole('button', { name: 'Options for “Think about it”' }).click();
    await other.getByRole('menuitem', { name: 'Delete' }).click();
    await other.getByRole('button', { name: 'Delete', exact: true }).click();
    await becomes(async () => (await looked()).join(), 'Another name');
  },
);

journey(
  'a comparison is the server’s: another device sees both answers, and which was kept',
  async (device) => {
    const page = await device();
    const columns = (shown) => shown.locator('.columns article');
    await page.getByRole('button', { name: 'Compare models', exact: true }).click();
    await page.getByRole('checkbox', { name: /far\/scripted/ }).check();
    await page.getByRole('button', { name: 'Compare 2 models' }).click();
    await say(page, 'Stop me', { wait: false });
    for (const at of [0, 1]) await columns(page).nth(at).getByText('One two').waitFor();
    // Both answers go on through a reload, and for whoever comes later.
    await page.reload();
    const other = await device(hash(page));
    for (const shown of [page, other]) {
      await becomes(() => columns(shown).count(), 2);
      for (const at of [0, 1]) await columns(shown).nth(at).getByText('nineteen twenty.').waitFor();
      await shown.getByRole('button', { name: 'Equally good' }).waitFor();
    }
    await accessible(other, 'a comparison on another device');
    await columns(other).nth(1).getByRole('button', { name: 'Keep this one' }).click();
    await other.locator('.columns').waitFor({ state: 'detached' });
    await page.evaluate(() => dispatchEvent(new Event('focus')));
    await page.locator('.columns').waitFor({ state: 'detached' });
    for (const shown of [page, other])
      await shown.getByRole('img', { name: 'Version 2 of 2' }).waitFor();
    await say(page, 'Hello');
    await becomes(() => page.locator('article').count(), 4);
  },
  () => pair('far'),
);

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
  await page.locator('dialog input[type=file]').setInputFiles(path);
  await page.getByText('1 conversation imported.').waitFor();
  await accessible(page, 'settings of a chat on the server');
  await page.keyboard.press('Escape');
  await becomes(() => page.getByRole('link', { name: 'First of all' }).count(), 2);
});

journey('conversations outlive a server that is killed in mid-answer', async (device, served) => {
  const page = await device();
  await say(page, 'Kept for ever');
  await say(page, 'Take your time', { wait: false });
  await log(page).getByText('One two three four five six seven').waitFor();
  await served.restart();
  // The page takes the answer up again, in steps of up to 16 seconds, and learns what became of it.
  await page
    .getByText('The server was stopped while it answered.')
    .waitFor({ timeout: TAKEN_UP_MS_MAX });
  assert.match(await lastAnswer(page).innerText(), /One two/);
  forgive(page);
  const other = await device(hash(page));
  await log(other).getByText('Kept for ever').waitFor();
  await other.getByText('The server was stopped while it answered.').waitFor();
  await other.getByRole('button', { name: 'Try again' }).click();
  await log(other).getByText('One two three').last().waitFor();
});

journey('the page is calm while the server is away', async (device) => {
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
  await becomes(() => other.locator('article').count(), 4);
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
  () => server('--no-store'),
);
