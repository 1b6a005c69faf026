// Talks to the default model, the one that `make serve` fetches: what it says need not be wise.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { accessible, answered, becomes, journeys, say, serving } from './harness.mjs';

const CACHE = process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache');
const MODEL =
  process.env.MODEL ?? join(CACHE, 'myriad', 'models', 'SmolLM2-135M-Instruct.Q4_1.gguf');

const journey = journeys(() => {
  assert.ok(existsSync(MODEL), `${MODEL}: tools/default_model.sh gets it`);
  // So small a model may not find an end by itself: at this it is told to.
  return serving([MODEL], ['--context', '2048']);
});

const log = (page) => page.getByRole('log');
const lastAnswer = (page) => page.locator('article.assistant').last();
const words = async (page) => (await lastAnswer(page).locator('.markdown').innerText()).trim();

journey(
  'the default model answers in pieces, with figures, and a reload keeps it',
  async (page) => {
    const seen = new Set();
    // Long enough to be seen growing: it writes hundreds of words a second.
    await say(page, 'Write five sentences about the sea.', { wait: false });
    await lastAnswer(page).locator('.markdown').waitFor();
    while ((await log(page).getAttribute('aria-busy')) === 'true') seen.add(await words(page));
    await answered(page);
    assert.ok(seen.size > 1, 'it grows before it is whole');
    const answer = await words(page);
    assert.match(answer, /\p{L}{3,}/u);
    const measures = lastAnswer(page).locator('.measures');
    assert.match(await measures.innerText(), /^[\d,.]+ tokens\/s/);
    assert.match(await measures.getAttribute('title'), /^SmolLM2/);
    await page.getByRole('img', { name: /tokens of context used/ }).waitFor();
    await accessible(page, 'an answer of the default model');
    await page.reload();
    await becomes(() => words(page), answer);
    assert.match(await measures.innerText(), /tokens\/s/);
    // The server has named it, or it has its question's name. An earlier try's may stand below it.
    const conversation = page.getByRole('navigation').getByRole('listitem').first();
    assert.notEqual((await conversation.innerText()).trim(), '');
  },
);

journey(
  'it stops when it is told to, and goes on when it is asked again',
  async (page, { url }) => {
    await say(page, 'Write a long story about a dragon and a lighthouse, in ten chapters.', {
      wait: false,
    });
    await lastAnswer(page).locator('.markdown').waitFor();
    await page.keyboard.press('Escape');
    await page.getByText('Stopped.').waitFor();
    const runs = async () => {
      const metrics = await (await fetch(`${url}/metrics`)).text();
      return /^vllm:num_requests_running\S* 0/m.test(metrics);
    };
    await becomes(runs, true);
    const kept = await words(page);
    await page.reload();
    await becomes(() => words(page), kept);
    await page.getByRole('button', { name: 'Answer again' }).click();
    // Its text has begun, so there is something to stop. Which version it is stands below it when it has ended.
    await page.locator('[role=log][aria-busy=true]').waitFor();
    await lastAnswer(page).locator('.markdown').waitFor();
    await page.keyboard.press('Escape');
    await answered(page);
    await page.getByRole('img', { name: 'Version 2 of 2' }).waitFor();
  },
);
