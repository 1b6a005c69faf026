// Turns each screen of the chat into pictures in docs/screenshots: wide and narrow, light and dark.
//
// MYRIAD=path/to/myriad npm run screenshots [NAME…]
import { mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { answered, browser, replies, say, server } from '../tests/e2e/harness.mjs';

const folder = fileURLToPath(new URL('../../docs/screenshots/', import.meta.url));
const only = process.argv.slice(2);

const WIDE = { width: 1200, height: 760 };
const NARROW = { width: 390, height: 780 };

/** Each screen, from a fresh start. */
const screens = {
  start: async () => {},
  chat: async (page) => {
    await history(page);
    await say(page, 'Plan a quiet weekend in the mountains');
    await page.getByRole('log').evaluate((log) => log.scrollTo(0, 0));
  },
  code: async (page) => {
    await say(page, 'Write a Python function that merges two sorted lists');
    await page.locator('math').first().waitFor();
    await page.locator('.hljs-keyword').first().waitFor();
    await page.getByRole('log').evaluate((log) => log.scrollTo(0, 0));
  },
  streaming: async (page) => {
    await say(page, 'Stop me', { wait: false });
    await page.getByText('One two three').waitFor();
  },
  failure: async (page) => {
    const pieces = [
      { choices: [{ delta: { content: 'It begins well, and then' } }] },
      { error: { message: 'The server had an error while it processed your request.' } },
    ];
    const body = pieces.map((piece) => `data: ${JSON.stringify(piece)}\n\n`).join('');
    await page.route('**/v1/chat/completions', (route) => route.fulfill({ body }));
    await say(page, 'Explain how a transformer predicts the next word');
  },
  branches: async (page) => {
    await say(page, 'Think about it');
    await page.getByRole('button', { name: 'Answer again' }).click();
    await page.getByText('2/2').waitFor();
    await answered(page);
    await page.getByRole('button', { name: /^Thought/ }).click();
  },
  tokens: async (page) => {
    await say(page, 'Hello');
    await page.getByRole('button', { name: 'Token probabilities' }).click();
    await page.locator('.tokens button').nth(1).click();
  },
  parameters: async (page) => {
    await page.getByRole('button', { name: 'Parameters' }).click();
  },
  search: async (page) => {
    await history(page);
    await page.keyboard.press('Control+k');
    await page.getByRole('combobox').fill('weekend');
    await page.getByRole('option').first().waitFor();
  },
  settings: async (page) => {
    const open = page.getByRole('button', { name: 'Show conversations' });
    if (await open.isVisible()) await open.click();
    await page.getByRole('button', { name: 'Settings' }).click();
  },
  sidebar: async (page) => {
    await history(page);
    const open = page.getByRole('button', { name: 'Show conversations' });
    if (await open.isVisible()) await open.click();
    await page
      .getByRole('button', { name: /^Options for/ })
      .first()
      .click();
  },
  artifact: async (page) => {
    await replies(
      page,
      'Each question goes this way:\n\n```mermaid\nflowchart LR\n  A[Question] --> B{Known?}\n  B -->|yes| C[Answer]\n  B -->|no| D[Think] --> C\n```\n',
    );
    await say(page, 'Draw how you answer');
    await page.locator('article').getByRole('button', { name: 'Preview' }).click();
    await page.frameLocator('iframe').locator('svg').getByText('Think').waitFor();
  },
  thinking: async (page) => {
    await page.getByRole('button', { name: /^Thinking/ }).click();
    await page.getByText('So many tokens at most').click();
  },
  prompts: async (page) => {
    const field = page.locator('#composer');
    await field.fill('/');
    await page.getByRole('option').last().click();
    for (const [name, text] of [
      ['Explain', 'Explain {{topic}} to a child.'],
      ['Translate', 'Translate “{{text}}” into {{language}}.'],
    ]) {
      await page.getByRole('button', { name: 'New prompt' }).click();
      await page.getByLabel('Name of the prompt').fill(name);
      await page.getByRole('textbox', { name: 'Text' }).fill(text);
      await page.getByRole('button', { name: 'Save' }).click();
      await page.getByRole('button', { name: `Edit: ${name}` }).waitFor();
    }
    await page.keyboard.press('Escape');
    await field.fill('');
    await field.fill('/');
    await page.getByRole('option').nth(2).waitFor();
  },
  shortcuts: async (page) => {
    await page.locator('body').press('Escape');
    await page.getByRole('log').focus();
    await page.keyboard.press('?');
  },
};

async function history(page) {
  for (const text of [
    'Plan a quiet weekend in the mountains',
    'Think about it',
    '用中文解释注意力机制',
    'Hello',
  ]) {
    await say(page, text);
    await page.evaluate(() => (location.hash = '#/'));
    await page.getByRole('heading', { name: 'What can I help with?' }).waitFor();
  }
}

mkdirSync(folder, { recursive: true });
const served = await server('--no-store');
const url = process.env.CHAT_URL ?? served.url;
const opened = await browser(url);
for (const [name, prepare] of Object.entries(screens)) {
  if (only.length > 0 && !only.includes(name)) continue;
  for (const [shape, viewport] of [
    ['wide', WIDE],
    ['narrow', NARROW],
  ]) {
    for (const colorScheme of ['light', 'dark']) {
      const page = await opened.page({ viewport, colorScheme, hasTouch: shape === 'narrow' });
      await prepare(page);
      await page.waitForTimeout(250);
      await page.screenshot({ path: `${folder}${name}-${shape}-${colorScheme}.png` });
      if (page.faults.length > 0) console.error(name, shape, colorScheme, page.faults);
      await page.context().close();
    }
  }
}
await opened.stop();
await served.stop();
