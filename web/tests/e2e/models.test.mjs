// Uses a server of several models as a person would, and as the one who runs it.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { accessible, answered, browser, say, server } from './harness.mjs';
import { look, many } from './many.mjs';

let opened;
before(async () => (opened = await browser()));
after(async () => opened?.stop());

/** A test with a server of its own; each page is another device of one person. */
function journey(name, start, walk) {
  test(name, { timeout: 60_000 }, async () => {
    const served = await start();
    const pages = [];
    const device = async (options = {}) => {
      const page = await opened.page(options, `${served.url}/`);
      page.setDefaultTimeout(15_000);
      pages.push(page);
      return page;
    };
    try {
      await walk(device);
      for (const page of pages) assert.deepEqual(page.faults, []);
    } finally {
      for (const page of pages) await page.context().close();
      await served.stop();
    }
  });
}

const row = (page, model) =>
  page.getByRole('dialog').getByRole('listitem').filter({ hasText: model });
const button = (page, name) => page.getByRole('button', { name, exact: true });
const lastAnswer = (page) => page.locator('article.assistant').last();

journey(
  'a model that is not loaded is chosen, waited for, and stays chosen',
  many,
  async (device) => {
    const page = await device();
    await button(page, 'Choose a model: scripted').click();
    await page.getByRole('menuitemradio', { name: /^patient .*loads first/ }).click();
    await say(page, 'Hello', { wait: false });
    await page.getByText(/^Loading patient: \d+/).waitFor();
    await page.getByRole('progressbar', { name: /^Loading patient/ }).waitFor();
    await accessible(page, 'a model that loads');
    await answered(page);
    assert.match(await lastAnswer(page).innerText(), /I took my time\./);
    await page.reload();
    await page.getByText('I took my time.').waitFor();
    await button(page, 'Choose a model: patient').waitFor();
    // Another conversation has its own.
    await button(page, 'Choose a model: patient').click();
    await page.getByRole('menuitemradio', { name: /^quick/ }).click();
    await say(page, 'And you?');
    assert.match(await lastAnswer(page).innerText(), /I was quick\./);
  },
);

for (const [theme, viewport] of [
  ['light', { width: 1280, height: 800 }],
  ['dark', { width: 320, height: 640 }],
])
  journey(
    `models are loaded and let go, ${theme}, ${viewport.width} wide`,
    many,
    async (device) => {
      const page = await device({ viewport, colorScheme: theme });
      await look(page, 'Models');
      await row(page, 'scripted').getByText('Stays loaded').waitFor();
      await row(page, 'patient').getByText('Not loaded').waitFor();
      await accessible(page, `models, ${theme}`);
      await button(page, 'Load: patient').click();
      await row(page, 'patient').getByRole('progressbar').waitFor();
      await row(page, 'patient').getByText('Loaded', { exact: true }).waitFor();
      // There is no room for both: the one used longest ago goes.
      await button(page, 'Load: quick').click();
      await row(page, 'quick').getByText('Loaded', { exact: true }).waitFor();
      await row(page, 'patient').getByText('Not loaded').waitFor();
      await button(page, 'Unload: quick').click();
      await row(page, 'quick').getByText('Not loaded').waitFor();
      await button(page, 'Load: broken').click();
      await row(page, 'broken').getByText('its file is cut off').waitFor();
      await row(page, 'broken').getByText('Could not be loaded').waitFor();
      await accessible(page, `a model that failed, ${theme}`);
    },
  );

journey('the engine is seen at work', server, async (device) => {
  const [page, other] = [await device(), await device()];
  await look(page, 'Engine');
  const running = page
    .getByRole('region', { name: 'scripted' })
    .locator('dt', { hasText: /^Running$/ });
  const figure = running.locator('xpath=following-sibling::dd');
  await figure.filter({ hasText: /^0( |$)/ }).waitFor();
  await accessible(page, 'an engine');
  await say(other, 'Take your time', { wait: false });
  await figure.filter({ hasText: /^1( |$)/ }).waitFor();
  await button(other, 'Stop').click();
  await answered(other);
  await figure.filter({ hasText: /^0( |$)/ }).waitFor();
});
