// Holds the chat to its budgets: a chat of 500 messages opens at once, and neither it nor a stream freezes the page.
//
// How a loaded machine is told apart from a slow page stands in measures.mjs. STREAM_SECONDS=60 is the long form of
// the stream; PROFILE=file.cpuprofile says where its time goes.
import assert from 'node:assert/strict';
import { journeys, say } from '../harness.mjs';
import {
  best,
  frames,
  idlePage,
  meter,
  profiled,
  slowness,
  streams,
  tasks,
  TRIES,
} from './measures.mjs';

const journey = journeys();
const SECONDS = Number(process.env.STREAM_SECONDS ?? 15);
/** Streams are as long as they are told to be; a busy machine begins and ends them late. */
const STREAM_MS_MAX = (SECONDS + 60) * 1000;
const TOKENS_PER_SECOND = 150;

const OPEN_MS_MAX = 1000;
const TASK_MS_MAX = 200;
const TYPING_MS_MAX = 50;
/** Frames that are dropped beyond those that the idle page drops. */
const DROPPED_SHARE_MAX = 0.1;
/** The page's share of a processor, times its slowness. */
const BUSY_SHARE_MAX = 0.4;
/** What a heap may grow by, after garbage is collected: the elements near the window, and so often the text. */
const HEAP_BYTES_MAX = 2_000_000;
const HEAP_TEXTS_MAX = 20;
const BYTES_PER_TOKEN = 4;
/** More than a screen: it scrolls. */
const SHORT_CHARS = 3000;
/** What comes in a minute of 150 tokens a second. */
const LONG_CHARS = 40_000;

const PARTS =
  'A **bold** word, `code` and $x^2$.\n\n```js\nlet x = 1;\n```\n\n- one\n- two\n\n| a | b |\n|--|--|\n| 1 | 2 |\n\n';

/**
 * Blocks that are done cost nothing. Code and lists are one block each, which Markdown reads as a whole for each frame;
 * what has not changed in it is not made again.
 */
const LONG_ANSWERS = {
  'many blocks': { open: '', part: PARTS, ratio: 1.5 },
  code: { open: '```js\n', part: 'const value = compute(index, 12) + "text"; // so\n', ratio: 3 },
  'a list': { open: '', part: '- an **item** of a list with some words\n', ratio: 5 },
};

function long() {
  const messages = Array.from({ length: 500 }, (_, index) => ({
    id: `m${index}`,
    parent: index === 0 ? null : `m${index - 1}`,
    role: index % 2 === 0 ? 'user' : 'assistant',
    content: index % 2 === 0 ? `Question ${index}` : `Answer ${index}: ${PARTS.repeat(4)}`,
    created: index + 1,
  }));
  const records = [{ conversation: { title: 'Long', leaf: 'm499' }, messages }];
  return JSON.stringify({ format: 'myriad.conversations', version: 1, records });
}

async function imported(page) {
  await page.getByRole('button', { name: 'Settings', exact: true }).click();
  await page.locator('dialog input[type=file]').setInputFiles({
    name: 'long.json',
    mimeType: 'application/json',
    buffer: Buffer.from(long()),
  });
  await page.getByText('1 conversation imported.').waitFor();
  await page.keyboard.press('Escape');
}

async function opened(page) {
  await page.getByRole('link', { name: 'Long', exact: true }).click();
  await page.locator('article.last .markdown').waitFor();
  // What stands above the end comes after it.
  await page.waitForFunction(() => document.querySelectorAll('article').length >= 500);
}

journey(
  'a chat of 500 messages opens within a second, and in no long task',
  async (page) => {
    await imported(page);
    const { busySeconds } = await meter(page);
    await best(
      async () => {
        await page.reload();
        await page.getByRole('link', { name: 'Long', exact: true }).waitFor();
        await page.evaluate(() => new Promise((resolve) => requestIdleCallback(resolve)));
        const longest = await tasks(page);
        const busy = await busySeconds();
        const wall_ms = await page.evaluate(async () => {
          const started = performance.now();
          [...document.querySelectorAll('nav a')].find(({ title }) => title === 'Long').click();
          while (!document.querySelector('article.last .markdown'))
            await new Promise((resolve) => requestAnimationFrame(resolve));
          return performance.now() - started;
        });
        const open_ms = ((await busySeconds()) - busy) * 1000;
        await opened(page);
        const task_ms = await longest();
        console.log(JSON.stringify({ wall_ms }));
        await page.evaluate(() => (location.hash = '#/'));
        return { open_ms, task_ms };
      },
      { open_ms: OPEN_MS_MAX, task_ms: TASK_MS_MAX },
    );
  },
  { timeout: 120_000 },
);

/** How long the page takes for a letter, of ten the second slowest: style and layout belong to it. */
async function typed(page) {
  await page.locator('#composer').fill('');
  return page.evaluate(async () => {
    const field = document.querySelector('#composer');
    const times = [];
    for (const letter of 'What about the rest of it, and of all that came before?') {
      await new Promise((resolve) => requestAnimationFrame(resolve));
      const started = performance.now();
      field.value += letter;
      field.dispatchEvent(new InputEvent('input', { bubbles: true, data: letter }));
      await Promise.resolve();
      document.querySelector('[role=log]').getBoundingClientRect();
      times.push(performance.now() - started);
    }
    return times.sort((a, b) => a - b)[Math.floor(times.length * 0.9)];
  });
}

journey(
  'typing in a chat of 500 messages is answered at once, also while an answer streams',
  async (page) => {
    await imported(page);
    await opened(page);
    await best(async () => ({ typing_ms: await typed(page) }), { typing_ms: TYPING_MS_MAX });
    const stream = { seconds: 60, rate: TOKENS_PER_SECOND, head: '', parts: PARTS };
    await streams(page, stream);
    await say(page, 'Go on', { wait: false });
    const answer = page.locator('article.assistant.last');
    await answer.locator('.markdown').waitFor();
    await best(async () => ({ typing_ms: await typed(page) }), { typing_ms: TYPING_MS_MAX });
    assert.equal(await answer.locator('.tools').count(), 0, 'the answer is still on its way');
    await page.getByRole('button', { name: 'Stop', exact: true }).click();
    await answer.locator('.tools').waitFor();
  },
  { timeout: 120_000 },
);

/** Streams one answer into a new chat. */
async function streamed(page) {
  await begun(page);
  await ended(page);
}

async function begun(page) {
  await page.evaluate(() => (location.hash = '#/'));
  await page.getByRole('heading', { name: 'What can I help with?' }).waitFor();
  await say(page, 'Go on', { wait: false });
}

async function ended(page) {
  await page.locator('article.assistant.last .tools').waitFor({ timeout: STREAM_MS_MAX });
}

/** Colours, formulas and the compiler's work come with the first answer, and stay. */
async function warm(page, parts) {
  await streams(page, { seconds: 4, rate: TOKENS_PER_SECOND, head: '', parts });
  await streamed(page);
}

journey(
  `${TOKENS_PER_SECOND} tokens a second for ${SECONDS} s drop few frames and keep the heap flat`,
  async (page) => {
    await warm(page, PARTS);
    const stream = { seconds: SECONDS, rate: TOKENS_PER_SECOND, head: '', parts: PARTS };
    await streams(page, stream);
    const { busySeconds, heapBytes } = await meter(page);
    const busyShareMax = BUSY_SHARE_MAX * (await slowness(page));
    const idle = await idlePage(page);
    await best(
      async () => {
        const before = await heapBytes();
        const profile = await profiled(page);
        const dropped = await frames(page);
        const droppedIdle = await frames(idle);
        const longest = await tasks(page);
        const busy = await busySeconds();
        await streamed(page);
        const busy_share = ((await busySeconds()) - busy) / SECONDS;
        const dropped_share = (await dropped()).dropped - (await droppedIdle()).dropped;
        const task_ms = await longest();
        await profile();
        const heap_bytes = (await heapBytes()) - before;
        return { dropped_share, busy_share, task_ms, heap_bytes };
      },
      {
        dropped_share: DROPPED_SHARE_MAX,
        busy_share: busyShareMax,
        task_ms: TASK_MS_MAX,
        heap_bytes: HEAP_BYTES_MAX + HEAP_TEXTS_MAX * BYTES_PER_TOKEN * TOKENS_PER_SECOND * SECONDS,
      },
    );
  },
  { timeout: TRIES * STREAM_MS_MAX },
);

for (const [kind, { open, part, ratio }] of Object.entries(LONG_ANSWERS)) {
  journey(
    `a token behind a long answer costs what one at its beginning does: ${kind}`,
    async (page) => {
      await warm(page, open + part.repeat(20));
      const { busySeconds } = await meter(page);
      /** The processor's milliseconds for a frame of the stream, behind so much text that is there already. */
      const cost = async (chars) => {
        const head = open + part.repeat(Math.ceil(chars / part.length));
        const stream = { seconds: 4, rate: TOKENS_PER_SECOND, head, parts: part, held: true };
        await streams(page, stream);
        await begun(page);
        await page.locator('article.assistant.last .markdown').waitFor();
        // What is there at once is made by then; it is not what is measured.
        await page.evaluate(() => new Promise((resolve) => requestIdleCallback(resolve)));
        const counted = await frames(page);
        const busy = await busySeconds();
        await page.evaluate(() => globalThis.release());
        await ended(page);
        return (((await busySeconds()) - busy) * 1000) / (await counted()).drawn;
      };
      await best(
        async () => {
          const [short, long] = [await cost(SHORT_CHARS), await cost(LONG_CHARS)];
          console.log(JSON.stringify({ kind, short, long }));
          return { cost_ratio: long / short };
        },
        { cost_ratio: ratio },
      );
    },
    { timeout: 120_000 },
  );
}
