// Runs hostile texts through every place that shows a text: nothing fires, nothing leaves, nothing is loaded.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { becomes, journeys, replies, say, still } from './harness.mjs';
import { diagrams, pages, texts } from './hostile.mjs';

const journey = journeys();
const button = (page, name) => page.getByRole('button', { name, exact: true });

/** Watches for all that a text could have done; `nothing()` says that it did not. */
async function watched(page) {
  const done = [];
  page.on('dialog', (dialog) => (done.push(`a dialog: ${dialog.message()}`), dialog.dismiss()));
  page.context().on('page', (opened) => done.push(`a popup: ${opened.url()}`));
  await page.context().route(/evil\.example/, (route) => {
    done.push(`asked ${route.request().url()}`);
    return route.abort();
  });
  const { host } = new URL(page.url());
  return async (where) => {
    assert.deepEqual(done, [], where);
    assert.equal(await page.evaluate(() => globalThis.__fired), undefined, where);
    assert.equal(new URL(page.url()).host, host, where);
  };
}

/**
 * No element and no attribute of the chat's own page that a text could have made, wherever it stands: what is far from
 * the window is shown as text, so each part of the page is gone to.
 */
async function harmless(page, where) {
  const found = await page.evaluate(async () => {
    const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
    const elements = () =>
      [...document.querySelectorAll('#app *')].filter(
        (element) =>
          /^(script|iframe|object|embed|form|base|meta|link|style|portal|foreignobject)$/i.test(
            element.localName,
          ) && !(element.localName === 'form' && element.querySelector('#composer')),
      );
    const attributes = () =>
      [...document.querySelectorAll('#app *')].flatMap((element) =>
        [...element.attributes]
          .filter(
            ({ name, value }) =>
              /^on/i.test(name) ||
              (/^(href|src|xlink:href|action|formaction)$/i.test(name) &&
                !/^(https?:|mailto:|#|\/|data:image\/(png|jpeg|gif|webp);)/i.test(value)),
          )
          .map(({ name, value }) => `${name}=${value}`),
      );
    const pictures = () =>
      [...document.images].map(({ src }) => src).filter((src) => /evil/.test(src));
    const found = new Set();
    const look = () => {
      for (const { outerHTML } of elements()) found.add(outerHTML);
      for (const bad of [...attributes(), ...pictures()]) found.add(bad);
    };
    look();
    for (const section of document.querySelectorAll('.section')) {
      section.scrollIntoView();
      do await frame();
      while (section.classList.contains('far'));
      look();
    }
    return [...found];
  });
  assert.deepEqual(found, [], where);
}

const record = (title, contents, part = {}) => {
  const messages = contents.flatMap((content, index) => [
    {
      id: `q${index}`,
      parent: index ? `a${index - 1}` : null,
      role: 'user',
      content,
      created: 2 * index + 1,
    },
    {
      id: `a${index}`,
      parent: `q${index}`,
      role: 'assistant',
      content,
      reasoning: content,
      model: content.slice(0, 200),
      created: 2 * index + 2,
    },
  ]);
  return { conversation: { title, leaf: messages.at(-1)?.id, ...part }, messages };
};

async function imported(page, value) {
  await button(page, 'Settings').click();
  const buffer = Buffer.from(JSON.stringify(value));
  await page.locator('dialog input[type=file]').setInputFiles({
    name: '"><img src=x onerror=window.__fired=1>.json',
    mimeType: 'application/json',
    buffer,
  });
  await page.getByText(/conversations? imported|could not be imported/).waitFor();
  await page.keyboard.press('Escape');
  await page.getByRole('dialog').waitFor({ state: 'detached' });
}

const own = (...records) => ({ format: 'myriad.conversations', version: 1, records });

test('the corpus is large', () => assert.ok(texts.length >= 120, `${texts.length} texts`));

journey(
  'hostile answers, questions, thoughts and models do nothing',
  async (page) => {
    const nothing = await watched(page);
    const SLICE = 20;
    const parts = [];
    for (let start = 0; start < texts.length; start += SLICE)
      parts.push(record(`Part ${start}`, texts.slice(start, start + SLICE)));
    await imported(page, own(...parts));
    for (const { conversation } of parts) {
      await page.getByRole('link', { name: conversation.title, exact: true }).click();
      await page.locator(`#app h1`, { hasText: conversation.title }).waitFor({ state: 'attached' });
      // All of them are made, wherever they stand.
      await page.evaluate(async () => {
        for (const article of document.querySelectorAll('article')) {
          article.scrollIntoView();
          await new Promise((resolve) => requestAnimationFrame(resolve));
        }
      });
      await page.waitForFunction(
        () =>
          document.querySelectorAll('article.assistant').length ===
          document.querySelectorAll('.markdown').length,
      );
      for (const fold of await page.getByRole('button', { name: 'Thoughts', exact: true }).all())
        await fold.click();
      await harmless(page, conversation.title);
      await nothing(conversation.title);
    }
    page.faults = page.faults.filter((fault) => !/net::ERR|Refused to load/.test(fault));
  },
  { timeout: 600_000 },
);

journey(
  'hostile answers do nothing while they come, and links open nothing by themselves',
  async (page) => {
    const nothing = await watched(page);
    const some = texts.filter((_, index) => index % 8 === 0);
    await replies(page, some.join('\n\n'), texts.slice(0, 40).join('\n\n'));
    await say(page, 'Attack me');
    await harmless(page, 'all at once');
    await say(page, 'Again');
    await harmless(page, 'links');
    await nothing('streamed');
  },
  { timeout: 120_000 },
);

journey(
  'hostile titles, folders, models and exports of others do nothing',
  async (page) => {
    const nothing = await watched(page);
    const some = texts.filter((_, index) => index % 6 === 0);
    await imported(
      page,
      own(...some.map((text) => record(text, ['x'], { folder: text, model: text }))),
    );
    await harmless(page, 'titles');
    await imported(page, [
      {
        title: some[0],
        mapping: Object.fromEntries(
          some.map((text, index) => [
            `n${index}`,
            {
              parent: index ? `n${index - 1}` : null,
              message: {
                author: { role: index % 3 === 2 ? 'tool' : 'assistant', name: text },
                content: { content_type: 'text', parts: [text] },
                metadata: { model_slug: text },
              },
            },
          ]),
        ),
      },
    ]);
    await page.keyboard.press('Control+k');
    await page.locator('[role=combobox]').fill('fired');
    await page.getByRole('option').first().waitFor();
    await harmless(page, 'search');
    await page.getByRole('dialog').getByRole('button', { name: 'Close' }).click();
    await page.getByRole('dialog').waitFor({ state: 'detached' });
    await page.getByRole('navigation').getByRole('link').first().click();
    await page.locator('article').first().waitFor();
    await harmless(page, 'an import');
    await page.route('**/v1/models', (route) =>
      route.fulfill({ json: { data: some.map((id) => ({ id })) } }),
    );
    await page.route('**/api/show', (route) => route.fulfill({ json: { capabilities: [] } }));
    await page.reload();
    await page.getByRole('button', { name: /^Choose a model/ }).click();
    await harmless(page, 'models');
    await nothing('titles');
  },
  { timeout: 120_000 },
);

journey(
  'hostile pages, pictures and diagrams stay in their frame',
  async (page) => {
    const nothing = await watched(page);
    const fence = (language, text) => `\`\`\`${language}\n${text}\n\`\`\``;
    const artifacts = [
      ...pages.map((text, index) => fence(index % 2 ? 'html' : 'svg', text)),
      ...diagrams.map((text) => fence('mermaid', text)),
    ];
    // All of them are near a window that is this high.
    await page.setViewportSize({ width: 1280, height: 20_000 });
    await replies(page, artifacts.join('\n\n'));
    await say(page, 'Show all of them');
    const previews = page.locator('article').getByRole('button', { name: 'Preview' });
    await becomes(() => previews.count(), artifacts.length);
    for (let index = 0; index < artifacts.length; index += 1) {
      await previews.nth(index).evaluate((element) => element.click());
      await page.locator('iframe').waitFor();
      const diagram = index >= pages.length;
      await page
        .frameLocator('iframe')
        .locator(diagram ? 'svg, pre' : 'script')
        .first()
        .waitFor({ state: 'attached', timeout: 20_000 });
      await still(page);
    }
    await nothing('artifacts');
    page.faults.length = 0;
  },
  { timeout: 600_000 },
);
