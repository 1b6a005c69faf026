// Uses what makes a chat comfortable: thinking, presets, prompts, imports.
import assert from 'node:assert/strict';
import { fileURLToPath } from 'node:url';
import { accessible, journeys, replies, say } from './harness.mjs';

const journey = journeys();
const button = (page, name) => page.getByRole('button', { name, exact: true });
const fixture = (name) => fileURLToPath(new URL(`../unit/fixtures/${name}.json`, import.meta.url));

/** What the next question asks the server. */
async function asked(page, text) {
  const sent = page.waitForRequest('**/v1/chat/completions');
  await say(page, text);
  return (await sent).postDataJSON();
}

journey('thinking is turned off, bounded, and kept with its conversation', async (page) => {
  await button(page, 'Thinking: Auto').click();
  await accessible(page, 'thinking');
  await page.getByText('It answers at once.').click();
  await page.keyboard.press('Escape');
  const first = await asked(page, 'Think about it');
  assert.deepEqual([first.enable_thinking, first.thinking_budget], [false, undefined]);
  await button(page, 'Thinking: Off').click();
  await page.getByText('So many tokens at most').click();
  await page.getByRole('slider').fill('1');
  await page.keyboard.press('Escape');
  const second = await asked(page, 'Think about it');
  assert.deepEqual([second.enable_thinking, second.thinking_budget], [undefined, 512]);
  await page.reload();
  await button(page, 'Thinking: 512 tokens').waitFor();
  await button(page, 'New chat').first().click();
  await button(page, 'Thinking: Auto').waitFor();
});

journey('a model that does not reason has no such control', async (page) => {
  await page.route('**/api/show', (route) =>
    route.fulfill({ json: { capabilities: ['completion'] } }),
  );
  await page.reload();
  await page.getByText('scripted').waitFor();
  await say(page, 'Hello');
  assert.equal(await page.getByRole('button', { name: /^Thinking/ }).count(), 0);
});

journey('exports of other chats are read, with a report', async (page) => {
  await button(page, 'Settings').click();
  const files = page.locator('input[type=file]');
  await files.setInputFiles(fixture('chatgpt'));
  await page.getByText('From ChatGPT: 1 conversation imported. Left out: 1 pictures').waitFor();
  await files.setInputFiles(fixture('openwebui'));
  await page.getByText('From Open WebUI: 2 conversations imported.').waitFor();
  await accessible(page, 'imported');
  await page.keyboard.press('Escape');
  await page.getByRole('link', { name: 'Trip to Lyon' }).click();
  await page.getByRole('log').getByText('Fourvière').waitFor();
  await page.getByRole('img', { name: 'Version 2 of 2' }).waitFor();
  await replies(page, 'It goes on.');
  await say(page, 'And then?');
  await page.getByRole('log').getByText('It goes on.').waitFor();
});
