// Looks after what is kept and used: a prompt on two devices, what was asked as a chart, and deletion for good.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { accessible, browser, say, server } from './harness.mjs';

let served, opened;
before(async () => {
  served = await server();
  opened = await browser(process.env.CHAT_URL ?? served.url);
});
after(async () => {
  await opened?.stop();
  await served?.stop();
});

const button = (page, name) => page.getByRole('button', { name, exact: true });

/** Opens a tab of the console. */
async function look(page, tab) {
  await button(page, 'Console').click();
  await page.getByRole('tab', { name: tab }).click();
}

async function saved(page, name) {
  const [download] = await Promise.all([page.waitForEvent('download'), button(page, name).click()]);
  return readFileSync(await download.path(), 'utf8');
}

test('a prompt that was made here is there on another device', { timeout: 60_000 }, async () => {
  const page = await opened.page();
  page.setDefaultTimeout(10_000);
  await button(page, 'Settings').click();
  await button(page, 'Prompts and presets').click();
  await button(page, 'New prompt').click();
  await page.getByLabel('Name of the prompt', { exact: true }).fill('Shorten');
  await page.getByLabel('Text', { exact: true }).fill('Say it shorter: {{text}}');
  await button(page, 'Save').click();
  await page.getByText('Shorten').waitFor();
  const other = await opened.page();
  other.setDefaultTimeout(10_000);
  await other.locator('#composer').pressSequentially('/sho');
  await other.getByText('Shorten').waitFor();
  for (const one of [page, other]) {
    assert.deepEqual(one.faults, []);
    await one.context().close();
  }
});

for (const [theme, viewport] of [
  ['light', { width: 1280, height: 800 }],
  ['dark', { width: 320, height: 640 }],
]) {
  test(`what is kept and used, ${theme}, ${viewport.width} wide`, { timeout: 60_000 }, async () => {
    const page = await opened.page({ viewport, colorScheme: theme, acceptDownloads: true });
    page.setDefaultTimeout(10_000);
    await say(page, 'Hello');
    if (viewport.width < 800) await button(page, 'Show conversations').click();
    await look(page, 'Usage');
    await page.getByRole('img', { name: /requests, .* tokens in/ }).waitFor();
    await accessible(page, `usage, ${theme}`);
    assert.match(await saved(page, 'Save as CSV'), /^day,owner,account,key,key_name,model,/);
    await page.getByRole('tab', { name: 'Data' }).click();
    const row = page.getByRole('listitem').filter({ hasText: 'Conversations of the chat' });
    await row.waitFor();
    await accessible(page, `data, ${theme}`);
    const lines = (await saved(page, 'Export everything of mine')).trim().split('\n');
    assert.ok(lines.map((line) => JSON.parse(line)).some(({ kind }) => kind === 'app_message'));
    await button(page, 'Delete: Conversations of the chat, Mine').click();
    await page.getByText('Nobody can bring it back.').waitFor();
    await accessible(page, `deleting, ${theme}`);
    await button(page, 'Delete').click();
    await page.getByText(/^Deleted: \d/).waitFor();
    await row.waitFor({ state: 'detached' });
    // The open conversation is asked for again, and is not there.
    const faults = page.faults.filter((fault) => !/status of 404/.test(fault));
    assert.deepEqual(faults, []);
    await page.context().close();
  });
}
