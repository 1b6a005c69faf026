// Holds the chat to its budgets: a chat of 500 messages opens at once, and neither it nor a stream freezes the page.
//
// The machine is shared: what is measured is the length of the page's own tasks, and the best of three tries counts.
// STREAM_SECONDS=60 is the long form of the stream.
import assert from 'node:assert/strict';
import { journeys, say } from '../harness.mjs';

const journey = journeys();
const SECONDS = Number(process.env.STREAM_SECONDS ?? 15);
const TOKENS_PER_SECOND = 150;
const TRIES = 3;

const OPEN_MS_MAX = 1000;
const TASK_MS_MAX = 200;
const TYPING_MS_MAX = 50;
/** Frames that are dropped beyond those that the same page drops while it does nothing. */
const DROPPED_SHARE_MAX = 0.1;
/** The page's own time on the processor, which other programs do not lengthen. */
const BUSY_SHARE_MAX = 0.5;
/** What a heap may grow by beside the answer itself, after garbage is collected. */
const HEAP_BYTES_MAX = 12_000_000;

const PARTS =
  'A **bold** word, `code` and $x^2$.\n\n```js\nlet x = 1;\n```\n\n- one\n- two\n\n| a | b |\n|--|--|\n| 1 | 2 |\n\n';

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
  await page.locator('input[type=file]').setInputFiles({
    name: 'long.json',
    mimeType: 'application/json',
    buffer: Buffer.from(long()),
  });
  await page.getByText('1 conversation imported.').waitFor();
  await page.keyboard.press('Escape');
}

/** The lengths of tasks over 50 ms, from now on: `tasks()` hands over those so far. */
async function watched(page) {
  await page.evaluate(() => {
    globalThis.tasks ??= [];
    globalThis.tasks.length = 0;
    if (globalThis.watching) return;
    globalThis.watching = new PerformanceObserver((list) =>
      globalThis.tasks.push(...list.getEntries().map(({ duration }) => duration)),
    );
    globalThis.watching.observe({ entryTypes: ['longtask'] });
  });
  return () =>
    page.evaluate(() => {
      globalThis.tasks.push(...globalThis.watching.takeRecords().map(({ duration }) => duration));
      return Math.max(0, ...globalThis.tasks);
    });
}

/** Measures until all budgets are kept, three times at most; what is missed says the best of each. */
async function best(measure, budgets) {
  const least = {};
  for (let tried = 0; tried < TRIES; tried += 1) {
    const found = await measure();
    for (const name of Object.keys(budgets))
      least[name] = Math.min(least[name] ?? Infinity, found[name]);
    if (Object.keys(budgets).every((name) => least[name] <= budgets[name])) break;
  }
  console.log(JSON.stringify({ measured: least, budgets }));
  for (const [name, most] of Object.entries(budgets))
    assert.ok(least[name] <= most, `${name}: ${least[name]} of ${most}`);
}

journey(
  'a chat of 500 messages opens within a second, and in no long task',
  async (page) => {
    await imported(page);
    await best(
      async () => {
        await page.reload();
        await page.getByRole('link', { name: 'Long' }).waitFor();
        await page.waitForTimeout(300);
        const task = await watched(page);
        const open_ms = await page.evaluate(async () => {
          const started = performance.now();
          [...document.querySelectorAll('nav a')].find(({ title }) => title === 'Long').click();
          while (!document.querySelector('article.last .markdown'))
            await new Promise((resolve) => requestAnimationFrame(resolve));
          return performance.now() - started;
        });
        await page.waitForTimeout(400);
        const task_ms = await task();
        await page.evaluate(() => (location.hash = '#/'));
        return { open_ms, task_ms };
      },
      { open_ms: OPEN_MS_MAX, task_ms: TASK_MS_MAX },
    );
  },
  { timeout: 120_000 },
);

journey(
  'typing in a chat of 500 messages is answered at once',
  async (page) => {
    await imported(page);
    await page.getByRole('link', { name: 'Long' }).click();
    await page.locator('article.last .markdown').waitFor();
    await best(
      async () => {
        await page.locator('#composer').fill('');
        const typing_ms = await page.evaluate(async () => {
          const field = document.querySelector('#composer');
          const times = [];
          for (const letter of 'What about the rest of it?') {
            await new Promise((resolve) => requestAnimationFrame(resolve));
            const started = performance.now();
            field.value += letter;
            field.dispatchEvent(new InputEvent('input', { bubbles: true, data: letter }));
            // Style and layout belong to it.
            await Promise.resolve();
            document.querySelector('[role=log]').getBoundingClientRect();
            times.push(performance.now() - started);
          }
          return times.sort((a, b) => a - b)[Math.floor(times.length * 0.9)];
        });
        return { typing_ms };
      },
      { typing_ms: TYPING_MS_MAX },
    );
  },
  { timeout: 120_000 },
);

/** Stands in for the server's stream: so many tokens a second, as long as it was asked for. */
function streaming([seconds, rate, parts]) {
  const real = globalThis.fetch;
  globalThis.fetch = async (path, init) => {
    if (!String(path).includes('chat/completions')) return real(path, init);
    const encode = new TextEncoder();
    const words = parts.match(/\s*\S+\s?/g);
    let sent = 0;
    const started = performance.now();
    const body = new ReadableStream({
      start(controller) {
        const timer = setInterval(() => {
          const due = Math.min(((performance.now() - started) / 1000) * rate, seconds * rate);
          for (; sent < due; sent += 1) {
            const chunk = { choices: [{ delta: { content: words[sent % words.length] } }] };
            controller.enqueue(encode.encode(`data: ${JSON.stringify(chunk)}\n\n`));
          }
          if (sent < seconds * rate) return;
          clearInterval(timer);
          controller.enqueue(
            encode.encode(
              'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n',
            ),
          );
          controller.close();
        }, 10);
      },
    });
    return new Response(body, { headers: { 'content-type': 'text/event-stream' } });
  };
}

const IDLE_MS = 2000;

function counting() {
  globalThis.frames = [];
  const next = (now) => {
    globalThis.frames.push(now);
    globalThis.frame = requestAnimationFrame(next);
  };
  globalThis.frame = requestAnimationFrame(next);
}

function droppedShare() {
  cancelAnimationFrame(globalThis.frame);
  const { frames } = globalThis;
  const FRAME_MS = 1000 / 60;
  let dropped = 0;
  for (let index = 1; index < frames.length; index += 1)
    dropped += Math.max(0, Math.round((frames[index] - frames[index - 1]) / FRAME_MS) - 1);
  return dropped / (dropped + frames.length);
}

/** What the page's tasks have taken of the processor so far. */
async function busySeconds(session) {
  const { metrics } = await session.send('Performance.getMetrics');
  return metrics.find(({ name }) => name === 'TaskDuration').value;
}

journey(
  `${TOKENS_PER_SECOND} tokens a second for ${SECONDS} s drop few frames and keep the heap flat`,
  async (page) => {
    await page.evaluate(streaming, [SECONDS, TOKENS_PER_SECOND, PARTS]);
    const session = await page.context().newCDPSession(page);
    await session.send('Performance.enable', { timeDomain: 'threadTicks' });
    const heap = async () => {
      await session.send('HeapProfiler.collectGarbage');
      return (await session.send('Runtime.getHeapUsage')).usedSize;
    };
    await best(
      async () => {
        await page.evaluate(() => (location.hash = '#/'));
        await page.getByRole('heading', { name: 'What can I help with?' }).waitFor();
        const before = await heap();
        const task = await watched(page);
        await page.evaluate(counting);
        await page.waitForTimeout(IDLE_MS);
        const idle = await page.evaluate(droppedShare);
        await page.evaluate(counting);
        const busy = await busySeconds(session);
        const started = Date.now();
        await say(page, 'Go on', { wait: false });
        await page
          .locator('article.assistant.last .tools')
          .waitFor({ timeout: (SECONDS + 30) * 1000 });
        const wall = (Date.now() - started) / 1000;
        const busy_share = ((await busySeconds(session)) - busy) / wall;
        const dropped_share = (await page.evaluate(droppedShare)) - idle;
        const task_ms = await task();
        return { dropped_share, busy_share, task_ms, heap_bytes: (await heap()) - before };
      },
      {
        dropped_share: DROPPED_SHARE_MAX,
        busy_share: BUSY_SHARE_MAX,
        task_ms: TASK_MS_MAX,
        heap_bytes: HEAP_BYTES_MAX * Math.max(1, SECONDS / 15),
      },
    );
  },
  { timeout: (SECONDS * TRIES + 120) * 1000 },
);
