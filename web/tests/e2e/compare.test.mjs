// Compares two models as a person would: one of the server, and the same one by way of a second server.
import assert from 'node:assert/strict';
import { pair } from './pair.mjs';
import { accessible, answered, becomes, journeys, say } from './harness.mjs';

const journey = journeys(() => pair('far'));

const button = (page, name) => page.getByRole('button', { name, exact: true });
const columns = (page) => page.locator('.columns article');

/** Chooses both models and asks them. */
async function compare(page, text) {
  await button(page, 'Compare models').click();
  await page.getByRole('checkbox', { name: /far\/scripted/ }).check();
  await accessible(page, 'choosing models');
  await button(page, 'Compare 2 models').click();
  await page.getByText('Side by side: scripted, far/scripted').waitFor();
  await page.locator('#composer').fill(text);
  await page.locator('#composer').press('Enter');
}

async function allAnswered(page) {
  await page.locator('[role=log][aria-busy=false]').waitFor();
  await button(page, 'Equally good').waitFor();
}

journey('the picker says whose each model is', async (page) => {
  await page.getByRole('button', { name: 'Choose a model: scripted' }).click();
  const far = page.getByRole('menuitemradio', { name: /far\/scripted/ });
  assert.match(await far.innerText(), /far\/scripted\s+far$/);
  await page.getByRole('menuitemradio', { name: /this server/ }).waitFor();
  await far.click();
  // Nobody is told that it stays here.
  await page.locator('.welcome').getByText('What you ask goes to far.').waitFor();
  await say(page, 'Think about it');
  assert.match(await page.locator('article.assistant').innerText(), /forty-two/);
  assert.equal(await button(page, 'Token probabilities').count(), 0);
});

journey('two answers stand side by side, one is voted for and kept', async (page) => {
  await compare(page, 'Think about it');
  await allAnswered(page);
  await becomes(() => columns(page).count(), 2);
  for (const column of await columns(page).all()) {
    assert.match(await column.innerText(), /forty-two/);
    assert.match(await column.innerText(), /tokens\/s/);
    await column.getByRole('button', { name: /^Thought for/ }).waitFor();
  }
  const [left, right] = await Promise.all(
    (await columns(page).all()).map((column) => column.boundingBox()),
  );
  assert.ok(Math.abs(left.y - right.y) < 1 && right.x >= left.x + left.width, 'in columns');
  await accessible(page, 'side by side');
  await columns(page).nth(1).getByRole('button', { name: 'This one is better' }).click();
  await page.locator('.verdict').getByText('Your vote is counted.').waitFor();
  // A reload keeps the comparison open.
  await page.reload();
  await columns(page).nth(1).waitFor();
  await page.getByText('Keep one of the answers to go on.').waitFor();
  await columns(page).nth(1).getByRole('button', { name: 'Keep this one' }).click();
  await page.locator('.columns').waitFor({ state: 'detached' });
  await page.getByRole('img', { name: 'Version 2 of 2' }).waitFor();
  await page.getByRole('button', { name: 'Choose a model: far/scripted' }).waitFor();
  await say(page, 'Hello');
  // The conversation goes on.
  await becomes(() => page.locator('article').count(), 4);
  const measures = page.locator('article.assistant').last().locator('.measures');
  assert.match(await measures.getAttribute('title'), /^far\/scripted\n/);
  await page.getByRole('button', { name: 'Previous version' }).first().click();
  await page.getByRole('img', { name: 'Version 1 of 2' }).waitFor();
});

journey('each answer has its own stop', async (page) => {
  await compare(page, 'Take your time');
  await columns(page).nth(1).getByText('One two').waitFor();
  await button(page, 'Stop far/scripted').click();
  await columns(page).nth(1).getByText('Stopped.').waitFor();
  assert.equal(await page.getByRole('log').getAttribute('aria-busy'), 'true');
  await columns(page).nth(0).getByText('twenty.').waitFor();
  await allAnswered(page);
  assert.doesNotMatch(await columns(page).nth(1).innerText(), /twenty/);
});

journey('a phone shows one answer at a time, to be swiped', async (page) => {
  await page.setViewportSize({ width: 320, height: 640 });
  await compare(page, 'Think about it');
  await allAnswered(page);
  const tab = page.locator('.tabs').getByRole('button', { name: 'far/scripted' });
  await tab.click();
  await page.locator('.tabs button[aria-pressed=true]', { hasText: 'far/scripted' }).waitFor();
  const inView = async () => {
    const box = await columns(page).nth(1).boundingBox();
    return box.x >= 0 && box.x + box.width <= 320;
  };
  await becomes(inView, true);
  const scroll = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(scroll <= 320, `${scroll} of 320 pixels`);
  await accessible(page, 'a comparison on a phone');
});

journey(
  'votes make a leaderboard with bars of error, in every theme and language',
  async (page) => {
    await compare(page, 'Think about it');
    await allAnswered(page);
    await button(page, 'Equally good').click();
    await page.locator('.verdict').getByText('Your vote is counted.').waitFor();
    await page.getByRole('link', { name: 'Leaderboard' }).click();
    const rows = page.getByRole('table').locator('tbody tr');
    await rows.nth(1).waitFor();
    assert.match(await rows.first().innerText(), /few votes\s+[\d,]+ ± \d/);
    await becomes(() => page.locator('main svg circle').count(), 2);
    await accessible(page, 'leaderboard');
    await page.evaluate(() => (document.documentElement.dataset.theme = 'dark'));
    await accessible(page, 'leaderboard, dark');
    for (const [language, title] of [
      ['Français', 'Classement'],
      ['中文', '排行榜'],
    ]) {
      await page.getByRole('button', { name: /^(Settings|Réglages)$/ }).click();
      await page.getByText(language, { exact: true }).click();
      await page.keyboard.press('Escape');
      await page.getByRole('heading', { name: title }).waitFor();
    }
    await page.setViewportSize({ width: 320, height: 640 });
    await accessible(page, 'leaderboard, Chinese, a phone');
    await page.getByRole('link', { name: '返回对话列表' }).or(page.locator('a[href="#/"]')).click();
    await page.locator('#composer').waitFor();
  },
);

journey('one model alone answers again after a comparison is called off', async (page) => {
  await button(page, 'Compare models').click();
  await page.getByRole('checkbox', { name: /far\/scripted/ }).check();
  await button(page, 'Compare 2 models').click();
  await button(page, 'Ask one model alone').click();
  await say(page, 'Hello');
  await answered(page);
  await becomes(() => page.locator('article.assistant').count(), 1);
});
