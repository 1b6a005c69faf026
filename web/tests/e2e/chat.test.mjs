// Uses the chat as a person would, in Chromium against the binary that serves a script.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import {
  accessible,
  answered,
  attempt,
  becomes,
  browser,
  journeys,
  say,
  server,
  still,
} from './harness.mjs';
import { streams } from './budgets/measures.mjs';

const journey = journeys();

/** Where messages are; what screen readers are told stands elsewhere once more. */
const log = (page) => page.getByRole('log');
const lastAnswer = (page) => page.locator('article.assistant').last();
const button = (page, name) => page.getByRole('button', { name, exact: true });

journey('a first start leads to an answer that a reload keeps', async (page) => {
  await page.getByRole('heading', { name: 'What can I help with?' }).waitFor();
  await accessible(page, 'start');
  await page.getByRole('button', { name: 'Plan a quiet weekend in the mountains' }).click();
  await answered(page);
  assert.match(await lastAnswer(page).innerText(), /Here is a slow weekend/);
  assert.equal(await lastAnswer(page).locator('table tbody tr').count(), 3);
  assert.match(
    await lastAnswer(page).locator('.measures').innerText(),
    /tokens\/s.*first token after/s,
  );
  await page.getByRole('img', { name: /of 8,192 tokens of context used/ }).waitFor();
  await accessible(page, 'chat');
  await page.reload();
  await log(page).getByText('Here is a slow weekend').waitFor();
  assert.match(await page.title(), /^Plan a quiet weekend/);
});

journey('thoughts are folded, with their time', async (page) => {
  await say(page, 'Think about it', { wait: false });
  await page.getByRole('button', { name: /^Thinking(…| for)/ }).waitFor();
  await answered(page);
  const fold = page.getByRole('button', { name: /^Thought for \d/ });
  assert.equal(await log(page).getByText('The user asks for').count(), 0);
  await fold.click();
  await log(page).getByText('The user asks for').waitFor();
  assert.match(await lastAnswer(page).innerText(), /forty-two/);
  await accessible(page, 'thoughts');
});

journey('stop stops, on the server too', async (page, { url }) => {
  await say(page, 'Take your time', { wait: false });
  await log(page).getByText('One two').waitFor();
  assert.equal(await page.getByRole('log').getAttribute('aria-busy'), 'true');
  await page.keyboard.press('Escape');
  await page.getByText('Stopped.').waitFor();
  const text = await lastAnswer(page).innerText();
  assert.doesNotMatch(text, /twenty/);
  const runs = async () => {
    const metrics = await (await fetch(`${url}/metrics`)).text();
    return /^vllm:num_requests_running\S* 0/m.test(metrics);
  };
  await becomes(runs, true);
});

/** A journey with a server of its own. */
function apart(name, flags, walk) {
  attempt(name, async (later) => {
    const served = await server(...flags);
    later(served.stop);
    const opened = await browser(served.url);
    later(opened.stop);
    await walk(await opened.page());
  });
}

// An engine that fails again and again is not started again.
apart('an error says what it is, and can be tried again', ['--no-store'], async (page) => {
  await say(page, 'Fail for me');
  const alert = page.getByRole('alert');
  await alert.getByText('The server could not finish the answer.').waitFor();
  assert.match(await lastAnswer(page).innerText(), /This begins well and/);
  await accessible(page, 'failure');
  await alert.getByRole('button', { name: 'Try again' }).click();
  await page.getByText('2/2').waitFor();
});

apart('a server that asks for a key gets it', ['--api-key', 'secret'], async (page) => {
  await page.getByText('The server asks for an API key.').waitFor();
  await accessible(page, 'locked');
  await button(page, 'Enter key').click();
  await page.getByLabel('API key').fill('secret');
  await page.keyboard.press('Tab');
  await page.keyboard.press('Escape');
  await say(page, 'Hello');
  await log(page).getByText('Hello there.').waitFor();
});

journey('a server that is gone is told apart', async (page) => {
  await page.route('**/v1/chat/completions', (route) => route.abort());
  await say(page, 'Hello');
  await page.getByText('The server cannot be reached.').waitFor();
  await page.unroute('**/v1/chat/completions');
  await button(page, 'Try again').click();
  await log(page).getByText('Hello there.').waitFor();
  assert.equal(
    await page.locator('article.assistant').count(),
    1,
    'an empty failure leaves no version',
  );
  page.faults = page.faults.filter((fault) => !/ERR_FAILED/.test(fault));
});

journey('questions are edited into branches, and answers made again', async (page) => {
  await say(page, 'Hello');
  await page.locator('article.user').hover();
  await button(page, 'Edit').click();
  await page.getByRole('textbox', { name: 'Edit message' }).fill('Think about it');
  await accessible(page, 'editing');
  await page.keyboard.press('Enter');
  await log(page).getByText('forty-two').waitFor();
  await answered(page);
  assert.equal(await log(page).getByText('Hello there.').count(), 0);
  await button(page, 'Previous version').click();
  await log(page).getByText('Hello there.').waitFor();
  await button(page, 'Answer again').click();
  await page.getByRole('img', { name: 'Version 2 of 2' }).nth(0).waitFor();
  await answered(page);
  await say(page, 'Think about it');
  await page
    .locator('article.assistant')
    .first()
    .getByRole('button', { name: 'Previous version' })
    .click();
  // The other version has no children.
  await becomes(() => page.locator('article').count(), 2);
  await button(page, 'Next version').nth(1).click();
  await becomes(() => page.locator('article').count(), 4);
  await page
    .locator('article.assistant')
    .first()
    .getByRole('button', { name: 'Continue in a new chat' })
    .click();
  await becomes(() => page.locator('article').count(), 2);
  await becomes(() => page.getByRole('navigation').getByRole('listitem').count(), 2);
});

journey('code is coloured and copied, formulas are drawn', async (page) => {
  await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
  await say(page, 'Write a Python function that merges two sorted lists');
  await page.locator('.hljs-keyword').first().waitFor();
  await page.locator('math').nth(1).waitFor();
  await button(page, 'Copy code').click();
  await button(page, 'Copied').waitFor();
  const copied = await page.evaluate(() => navigator.clipboard.readText());
  assert.match(copied, /^def merge\(left: list\[int\]/);
  await accessible(page, 'code');
});

journey('hostile answers fire nothing and ask no one', async (page) => {
  await say(page, 'Attack me');
  await log(page).getByText('The end.').waitFor();
  await still(page);
  assert.equal(await page.evaluate(() => globalThis.fired), undefined);
  assert.equal(
    await page.locator('.markdown :is(script, iframe, object, [onerror], [onload])').count(),
    0,
  );
  assert.equal(await page.locator('.markdown [href^="javascript"]').count(), 0);
  const picture = page.locator('.picture');
  assert.equal(await picture.getAttribute('rel'), 'noopener noreferrer nofollow');
  assert.match(await lastAnswer(page).innerText(), /<script>window.fired = 1<\/script>/);
});

journey('a click on a word shows what else could have come', async (page) => {
  await say(page, 'Hello');
  await button(page, 'Token probabilities').click();
  const tokens = page.getByRole('toolbar', { name: 'Token probabilities' });
  await tokens.getByRole('button').nth(1).click();
  await page.getByText('“e” had 100%').waitFor();
  assert.equal((await tokens.innerText()).trim(), 'Hello there.');
  await accessible(page, 'tokens');
});

journey('parameters reach the server, and wrong ones are told', async (page) => {
  await button(page, 'Parameters').click();
  await page.getByLabel('Temperature').fill('7');
  await page.getByText('Right would be a number from 0 to 2.').waitFor();
  await accessible(page, 'parameters');
  await page.getByLabel('Temperature').fill('0.5');
  await page.getByLabel('Seed').fill('11');
  await page.getByLabel('Most tokens of an answer').fill('5');
  await page.getByLabel('System prompt').fill('Be brief.');
  await button(page, 'Save').click();
  const sent = page.waitForRequest('**/v1/chat/completions');
  await say(page, 'Hello');
  const body = (await sent).postDataJSON();
  assert.deepEqual(
    [body.temperature, body.seed, body.max_tokens, body.messages[0]],
    [0.5, 11, 5, { role: 'system', content: 'Be brief.' }],
  );
  await page.getByText('The answer ended at its greatest length.').waitFor();
});

journey('Enter inside a composition does not send', async (page) => {
  const field = page.locator('#composer');
  await field.fill('ni');
  for (const init of [
    { isComposing: true, keyCode: 13 },
    { isComposing: false, keyCode: 229 },
  ]) {
    await field.dispatchEvent('keydown', {
      key: 'Enter',
      bubbles: true,
      cancelable: true,
      ...init,
    });
  }
  assert.equal(await page.locator('article').count(), 0);
  await field.press('Shift+Enter');
  assert.equal(await field.inputValue(), 'ni\n');
  await field.press('Enter');
  await answered(page);
});

journey('conversations are found, named, kept apart and deleted', async (page) => {
  await say(page, 'Hello');
  await page.keyboard.press('Control+Shift+O');
  await page.getByRole('heading', { name: 'What can I help with?' }).waitFor();
  await say(page, '用中文解释注意力机制');
  await log(page).getByText('完成。').waitFor();
  assert.deepEqual(await page.locator('.markdown strong').allInnerTexts(), ['重要：']);
  const rows = page.getByRole('navigation').getByRole('listitem');
  await becomes(() => rows.count(), 2);
  await page.locator('#composer').fill('a draft');
  await page.getByRole('link', { name: 'Hello' }).click();
  await log(page).getByText('Hello there.').waitFor();
  await becomes(() => page.locator('#composer').inputValue(), '');
  await page.getByRole('link', { name: '用中文' }).click();
  await becomes(() => page.locator('#composer').inputValue(), 'a draft');

  await page.keyboard.press('Control+k');
  await page.getByRole('combobox').fill('缩放点积');
  await page.getByRole('option').waitFor();
  await accessible(page, 'search');
  await page.getByRole('combobox').fill('hello');
  await page.getByRole('option', { name: 'Hello' }).waitFor();
  await page.keyboard.press('Enter');
  await log(page).getByText('Hello there.').waitFor();

  const choose = async (title, item) => {
    await page.getByRole('button', { name: `Options for “${title}”` }).click();
    await page.getByRole('menuitem', { name: item }).click();
  };
  await page.getByRole('button', { name: 'Options for “Hello”' }).click();
  await accessible(page, 'menu');
  await page.keyboard.press('Escape');
  await choose('Hello', 'Rename');
  await page.getByLabel('Title').fill('Greetings');
  await accessible(page, 'rename');
  await page.keyboard.press('Enter');
  await choose('Greetings', 'Pin');
  await page.getByRole('heading', { name: 'Pinned' }).waitFor();
  await choose('用中文解释注意力机制', 'Move to folder…');
  await page.getByLabel('Name of the folder').fill('Study');
  await button(page, 'Save').click();
  await page.getByRole('heading', { name: 'Study' }).waitFor();
  const file = page.waitForEvent('download');
  await choose('Greetings', 'Export as JSON');
  const exported = await (await file).path();
  assert.equal(
    JSON.parse(await readFile(exported, 'utf8')).records[0].conversation.title,
    'Greetings',
  );
  await choose('Greetings', 'Archive');
  await page.getByRole('link', { name: 'Greetings' }).waitFor({ state: 'detached' });
  await button(page, 'Archived').click();
  await choose('Greetings', 'Delete');
  await accessible(page, 'delete');
  await button(page, 'Delete').click();
  await page.getByText('Nothing is archived.').waitFor();

  await button(page, 'Settings').click();
  await page.locator('dialog input[type=file]').setInputFiles(exported);
  await page.getByText('1 conversation imported.').waitFor();
  await accessible(page, 'settings');
});

journey('themes and languages change at once and stay', async (page) => {
  await button(page, 'Settings').click();
  await page.getByText('Dark', { exact: true }).click();
  await page.getByText('中文', { exact: true }).click();
  await page.getByRole('heading', { name: '设置' }).waitFor();
  await accessible(page, 'settings, dark, Chinese');
  await page.reload();
  await page.getByRole('heading', { name: '有什么可以帮您？' }).waitFor();
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), 'dark');
  assert.equal(await page.evaluate(() => document.documentElement.lang), 'zh-CN');
  await accessible(page, 'start, dark, Chinese');
  await say(page, 'Plan a quiet weekend');
  await accessible(page, 'chat, dark, Chinese');
  await page.getByRole('button', { name: '设置' }).click();
  await page.getByText('Français', { exact: true }).click();
  await page.getByRole('heading', { name: 'Réglages' }).waitFor();
});

journey('the keys have a sheet, and the sidebar hides', async (page) => {
  await page.getByRole('log').focus();
  await page.keyboard.press('?');
  await page.getByRole('dialog', { name: 'Keyboard shortcuts' }).waitFor();
  await accessible(page, 'shortcuts');
  await page.keyboard.press('Escape');
  await page.keyboard.press('Control+Shift+S');
  await page.getByRole('navigation').waitFor({ state: 'detached' });
  await page.keyboard.press('/');
  await page.waitForFunction(() => document.activeElement?.id === 'composer');
});

journey('nothing is cut off on a narrow or enlarged page', async (page) => {
  await say(page, 'Plan a quiet weekend in the mountains');
  // 320 pixels is also what 1280 are at 400 %.
  for (const width of [320, 640]) {
    await page.setViewportSize({ width, height: 640 });
    const [inner, scroll] = await page.evaluate(() => [
      innerWidth,
      document.documentElement.scrollWidth,
    ]);
    assert.ok(scroll <= inner, `${scroll} of ${inner} pixels`);
    await accessible(page, `${width} pixels`);
  }
  await button(page, 'Show conversations').click();
  await page.getByRole('navigation').waitFor();
  await accessible(page, 'the sidebar above the chat');
  await page.keyboard.press('Escape');
  await page.getByRole('navigation').waitFor({ state: 'detached' });
});

journey('a chat of 500 messages opens at its end', async (page) => {
  const parts = 'A **bold** word, `code` and $x^2$.\n\n```js\nlet x = 1;\n```\n\n- one\n- two\n\n';
  const messages = Array.from({ length: 500 }, (_, index) => ({
    id: `m${index}`,
    parent: index === 0 ? null : `m${index - 1}`,
    role: index % 2 === 0 ? 'user' : 'assistant',
    content: index % 2 === 0 ? `Question ${index}` : `Answer ${index}: ${parts.repeat(4)}`,
    created: index + 1,
  }));
  const records = [{ conversation: { title: 'Long', leaf: 'm499' }, messages }];
  const buffer = Buffer.from(
    JSON.stringify({ format: 'myriad.conversations', version: 1, records }),
  );
  await button(page, 'Settings').click();
  await page
    .locator('dialog input[type=file]')
    .setInputFiles({ name: 'long.json', mimeType: 'application/json', buffer });
  await page.getByText('1 conversation imported.').waitFor();
  await page.keyboard.press('Escape');
  await page.getByRole('link', { name: 'Long', exact: true }).click();
  await becomes(() => page.locator('article').count(), 500);
  const above = () =>
    log(page).evaluate((log) => Math.round(log.scrollHeight - log.scrollTop - log.clientHeight));
  await becomes(above, 0);
  const made = await page.locator('.markdown').count();
  assert.ok(made < 60, `${made} of 250 answers are made although nobody sees them`);
});

journey(
  'a stream pulls nobody back who scrolls up, and keeps who stays at the end',
  async (page) => {
    const part = 'Some words of a paragraph that is long enough for a line or two of the page.\n\n';
    await streams(page, { seconds: 120, rate: 60, head: part.repeat(60), parts: part });
    await say(page, 'Go on', { wait: false });
    const place = () =>
      log(page).evaluate((log) => {
        const below = log.scrollHeight - log.scrollTop - log.clientHeight;
        return {
          top: Math.round(log.scrollTop),
          height: log.scrollHeight,
          below: Math.round(below),
        };
      });
    /** Waits until so much more of the answer is there. */
    const grown = async (pixels) => {
      const { height } = await place();
      await becomes(async () => (await place()).height > height + pixels, true);
    };
    await grown(300);
    await becomes(async () => (await place()).below, 0);
    await log(page).hover();
    // Less than what counts as near to the end.
    await page.mouse.wheel(0, -40);
    await button(page, 'Jump to the end').waitFor();
    // The wheel's own movement has ended by then.
    await grown(300);
    const { top } = await place();
    await grown(300);
    assert.equal((await place()).top, top, 'the reader stays');
    await button(page, 'Jump to the end').click();
    await grown(300);
    await becomes(async () => (await place()).below, 0);
    await button(page, 'Stop').click();
    await answered(page);
  },
);

journey('an answer is announced once, when it is whole', async (page) => {
  await page.evaluate(() => {
    globalThis.heard = [];
    const status = document.querySelector('[aria-live=polite]');
    new MutationObserver(() => {
      if (status.textContent) globalThis.heard.push(status.textContent);
    }).observe(status, { childList: true, characterData: true, subtree: true });
  });
  await say(page, 'Think about it');
  await page.waitForFunction(() => globalThis.heard.length > 0);
  assert.deepEqual(await page.evaluate(() => globalThis.heard), [
    'Answer: After some thought: **forty-two**.',
  ]);
});
