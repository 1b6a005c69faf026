// Uses what makes a chat comfortable: thinking, presets, prompts, imports.
import assert from 'node:assert/strict';
import { fileURLToPath } from 'node:url';
import { accessible, becomes, journeys, replies, say } from './harness.mjs';

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
  const files = page.locator('dialog input[type=file]');
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

journey('prompts are made, found behind a slash and filled in', async (page) => {
  const field = page.locator('#composer');
  await field.fill('/');
  await page.getByRole('option', { name: 'Edit prompts…' }).click();
  await button(page, 'New prompt').click();
  await page.getByLabel('Name of the prompt').fill('Translate');
  await page.getByRole('textbox', { name: 'Text' }).fill('Translate “{{text}}” into {{language}}.');
  await accessible(page, 'a prompt');
  await button(page, 'Save').click();
  await accessible(page, 'prompts');
  await button(page, 'New prompt').click();
  await page.getByLabel('Name of the prompt').fill('Hello there');
  await page.getByRole('textbox', { name: 'Text' }).fill('Hello');
  await button(page, 'Save').click();
  await page.keyboard.press('Escape');
  await field.fill('/tra');
  await becomes(() => page.getByRole('option').count(), 2);
  await accessible(page, 'the list of prompts');
  await field.press('Enter');
  await page.getByLabel('text', { exact: true }).fill('$& {{language}}');
  await page.getByLabel('language', { exact: true }).fill('French');
  await accessible(page, 'variables');
  await button(page, 'Insert').click();
  await becomes(() => field.inputValue(), 'Translate “$& {{language}}” into French.');
  await page.waitForFunction(() => document.activeElement.id === 'composer');
  await field.fill('/hello');
  await field.press('Enter');
  await becomes(() => field.inputValue(), 'Hello');
  await field.fill('/');
  await field.press('Escape');
  await becomes(() => page.getByRole('option').count(), 0);
  await field.press('Enter');
  await page.getByRole('log').getByText('/', { exact: true }).waitFor();
});

journey('a preset is kept, used, exported and imported', async (page) => {
  await button(page, 'Parameters').click();
  await page.getByLabel('System prompt').fill('Be brief.');
  await page.getByLabel('Temperature').fill('0.25');
  await button(page, 'Save as preset').click();
  await page.getByLabel('Name of the preset').fill('Terse');
  await button(page, 'Save').first().click();
  await button(page, 'Cancel').click();
  await button(page, 'Parameters').click();
  await page.getByRole('combobox', { name: 'Presets' }).selectOption('Terse');
  await becomes(() => page.getByLabel('Temperature').inputValue(), '0.25');
  await accessible(page, 'a preset in the parameters');
  await button(page, 'Save').click();
  const body = await asked(page, 'Hello');
  assert.deepEqual([body.temperature, body.messages[0].content], [0.25, 'Be brief.']);
  await button(page, 'Settings').click();
  const file = page.waitForEvent('download');
  await button(page, 'Export all').click();
  const exported = await (await file).path();
  await page.locator('dialog input[type=file]').setInputFiles(exported);
  await page.getByText('1 conversation imported.').waitFor();
  await button(page, 'Prompts and presets').click();
  await page.getByRole('button', { name: 'Presets', exact: true }).click();
  await becomes(() => page.getByRole('button', { name: 'Edit: Terse' }).count(), 2);
  await page.getByRole('button', { name: 'Edit: Terse' }).first().click();
  await page.getByLabel('Name of the preset').fill('Brief');
  await accessible(page, 'editing a preset');
  await button(page, 'Save').click();
  await page.getByRole('button', { name: 'Delete: Terse' }).click();
  await button(page, 'Delete').click();
  await page.getByText('Terse').waitFor({ state: 'detached' });
  await becomes(() => page.getByText('Brief', { exact: true }).count(), 1);
});
