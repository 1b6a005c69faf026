// Uses tools as a person would: switches them on, allows, refuses, stops, and comes back while one waits.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { accessible, answered, browser, say, server } from './harness.mjs';
import { texts } from './hostile.mjs';
import { switchOn, toolServer } from './toolserver.mjs';

let opened;
before(async () => (opened = await browser()));
after(async () => opened?.stop());

/** A test with a server of tools and a server of its own; each page is another device of one person. */
function journey(name, walk, ways = {}) {
  test(name, { timeout: 60_000 }, async () => {
    const tools = await toolServer(ways);
    const served = await server('--tools', tools.file);
    const pages = [];
    const device = async (path = '', options = {}) => {
      const page = await opened.page(options, `${served.url}/${path}`);
      page.setDefaultTimeout(15_000);
      pages.push(page);
      return page;
    };
    try {
      await walk(device, tools);
      for (const page of pages) assert.deepEqual(page.faults, []);
    } finally {
      for (const page of pages) await page.context().close();
      await served.stop();
      tools.stop();
    }
  });
}

const WEATHER = 'How is the weather in Paris?';
const button = (page, name) => page.getByRole('button', { name, exact: true });
const card = (page) => page.getByRole('group', { name: 'weather · forecast' });
const lastAnswer = (page) => page.locator('article.assistant').last();
const hash = (page) => new URL(page.url()).hash;

async function asked(page) {
  await switchOn(page, /^Forecast/);
  await say(page, WEATHER, { wait: false });
  await button(page, 'Allow once').waitFor();
}

journey('tools are off, are switched on, and one call is allowed', async (device, { calls }) => {
  const page = await device();
  const open = page.getByRole('button', { name: /^Tools:/ });
  assert.equal(await open.getAttribute('aria-label'), 'Tools: off');
  await open.click();
  await page.getByRole('checkbox', { name: /^Forecast/ }).waitFor();
  assert.equal(await page.getByRole('checkbox', { checked: true }).count(), 0);
  assert.ok(await page.getByRole('checkbox', { name: /^radar/ }).isDisabled());
  await accessible(page, 'the menu of tools');
  await page.getByRole('checkbox', { name: 'All tools of weather' }).check();
  assert.equal(await open.getAttribute('aria-label'), 'Tools: 2 on');
  await page.keyboard.press('Escape');
  await say(page, WEATHER, { wait: false });
  await button(page, 'Allow once').waitFor();
  await page.getByText('The model asks to use weather · forecast.').waitFor({ state: 'attached' });
  assert.match(await card(page).innerText(), /"city": "Paris",\s+"days": 2/);
  assert.deepEqual(calls, []);
  await accessible(page, 'a permission');
  // With the keyboard alone.
  await button(page, 'Allow once').focus();
  await page.keyboard.press('Enter');
  await answered(page);
  assert.equal(calls.length, 1);
  assert.match(await lastAnswer(page).innerText(), /I look it up\..*done.*It is sunny in Paris\./s);
  assert.equal(await button(page, 'Token probabilities').count(), 0);
  await page.getByRole('button', { name: /^weather · forecast/ }).click();
  await page.getByText('Sunny in Paris, 21 °C.').waitFor();
  await accessible(page, 'a call');
  await page.reload();
  await page.getByText('It is sunny in Paris.').waitFor();
  await page.getByRole('button', { name: /^weather · forecast/ }).click();
  await page.getByText('Sunny in Paris, 21 °C.').waitFor();
  // What was said and called is told again: the script finds the result in the next question.
  await say(page, 'And now?');
  assert.match(await lastAnswer(page).innerText(), /It is sunny in Paris\./);
});

journey('a call that is refused is not made', async (device, { calls }) => {
  const page = await device();
  await asked(page);
  await button(page, 'Refuse').click();
  await answered(page);
  assert.match(await lastAnswer(page).innerText(), /not allowed.*Then I cannot say\./s);
  assert.deepEqual(calls, []);
});

journey('a permission for the chat asks no more', async (device, { calls }) => {
  const page = await device();
  await asked(page);
  await button(page, 'Allow for this chat').click();
  await answered(page);
  await button(page, 'Answer again').click();
  await answered(page);
  assert.equal(await button(page, 'Allow once').count(), 0);
  assert.equal(calls.length, 2);
});

journey('stop ends a call that waits', async (device, { calls }) => {
  const page = await device();
  await asked(page);
  await page.getByRole('button', { name: 'Stop', exact: true }).click();
  await page.getByText('Stopped.').waitFor();
  assert.equal(await button(page, 'Allow once').count(), 0);
  assert.match(await card(page).innerText(), /stopped/);
  assert.deepEqual(calls, []);
});

journey('a call waits through a reload, and another device allows it', async (device) => {
  const page = await device();
  await asked(page);
  await page.reload();
  await button(page, 'Allow once').waitFor();
  const other = await device(hash(page), { viewport: { width: 320, height: 640 } });
  await button(other, 'Allow once').waitFor();
  const wide = await other.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(wide <= 320, `a phone scrolls sideways: ${wide} pixels`);
  await button(other, 'Allow once').click();
  for (const shown of [page, other]) {
    await answered(shown);
    await shown.getByText('It is sunny in Paris.').waitFor();
    assert.equal(await button(shown, 'Allow once').count(), 0);
  }
});

// The script goes on by the first words; half letters are no JSON, and a result has 32 KiB at most.
const hostile = ['the end of the corpus', ...texts].join('\n\n').toWellFormed().slice(0, 30_000);
journey(
  'what tools say, and are called, is text',
  async (device) => {
    const page = await device();
    await page.context().route(/evil\.example/, (route) => {
      page.faults.push(`asked ${route.request().url()}`);
      return route.abort();
    });
    await page.getByRole('button', { name: /^Tools:/ }).click();
    await page.getByRole('checkbox').nth(1).waitFor();
    await page.getByRole('checkbox', { name: /x onerror/ }).check();
    await page.keyboard.press('Escape');
    await say(page, 'Attack me by a tool', { wait: false });
    await button(page, 'Allow once').click();
    await answered(page);
    await lastAnswer(page).getByRole('group').getByRole('button').click();
    await page.getByText('<script>window.__fired=1</script>').first().waitFor();
    const made = await lastAnswer(page)
      .locator('pre')
      .evaluateAll((all) => all.map(({ children }) => children.length));
    assert.deepEqual(made, [0, 0], 'arguments and result are text alone');
    assert.equal(await page.evaluate(() => globalThis.__fired), undefined);
  },
  {
    tools: [
      {
        name: 'forecast',
        title: '<img src=x onerror=window.__fired=1>',
        description: '<script>window.__fired=1</script>',
        inputSchema: { type: 'object' },
      },
    ],
    content: [
      { type: 'text', text: hostile },
      { type: 'resource_link', uri: 'javascript:window.__fired=1', name: '<b>x</b>' },
    ],
  },
);

for (const [locale, permission] of [
  ['fr-FR', 'Autoriser une fois'],
  ['zh-CN', '允许一次'],
])
  journey(`a permission is asked for in ${locale}`, async (device) => {
    const page = await device('', { locale, colorScheme: 'dark' });
    await page.getByRole('button', { name: locale === 'zh-CN' ? /^工具/ : /^Outils/ }).click();
    await page.getByRole('checkbox', { name: /^Forecast/ }).check();
    await page.keyboard.press('Escape');
    await say(page, WEATHER, { wait: false });
    await button(page, permission).waitFor();
    await accessible(page, `a permission in ${locale}`);
    await button(page, permission).click();
    await answered(page);
  });
