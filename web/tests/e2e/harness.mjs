// Turns the built binary and Debian's Chromium into a page that a test can use as a person would.
//
// MYRIAD is the binary (it carries the chat); CHAT_URL another address that serves the chat in its place,
// such as `vite preview` while the chat is written. CHAT_DIST=1 serves web/dist in front of the binary (front.mjs).
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { after, before, test } from 'node:test';
import { chromium } from 'playwright-core';
import { front } from './front.mjs';

const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';
const SCRIPT = fileURLToPath(new URL('script.json', import.meta.url));
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** Starts a server that plays the script; `restart` kills it and starts another on its data and port. */
export const server = (...flags) => serverAt('0', ...flags);

/** The same, on a port that is known before. */
export const serverAt = (port, ...flags) =>
  serving([`script:${SCRIPT}`, '--name', 'scripted'], flags, port);

/** Starts a server of a model. */
export async function serving(model, flags, port = '0') {
  const data = mkdtempSync(join(tmpdir(), 'myriad-chat-'));
  let child = await started(model, data, port, flags);
  const { url } = child;
  const ahead = process.env.CHAT_DIST ? await front(url) : null;
  const stop = async () => {
    await ahead?.stop();
    await child.kill();
    rmSync(data, { recursive: true, force: true });
  };
  const restart = async (...others) => {
    await child.kill();
    child = await started(model, data, new URL(url).port, others);
  };
  return { url: ahead?.url ?? url, stop, restart };
}

async function started(model, data, port, flags) {
  const binary = process.env.MYRIAD;
  assert.ok(
    binary && existsSync(binary),
    'MYRIAD names the binary: cargo build --release -p myriad',
  );
  const child = spawn(binary, ['serve', ...model, '--port', port, ...flags], {
    env: { ...process.env, MYRIAD_DATA: data },
  });
  const url = await new Promise((resolve, reject) => {
    let said = '';
    const read = (bytes) => {
      said += bytes;
      const address = /http:\/\/127\.0\.0\.1:\d+/.exec(said);
      if (address) resolve(address[0]);
    };
    child.stdout.on('data', read);
    child.stderr.on('data', read);
    child.on('exit', () => reject(new Error(`the server ended: ${said}`)));
  });
  const kill = async () => {
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
  };
  return { url, kill };
}

/** A journey is tried so often more: a machine that others use too is late at times; what is broken fails again. */
const RETRIES = Number(process.env.RETRIES ?? 1);
/** One action waits so long for its condition. A page that works needs a hundredth of it. */
const ACTION_MS = 60_000;
const JOURNEY_MS = 300_000;

/** What LOAD=4 does to a page: the browser gives it a quarter of the processor, and a program beside it takes turns. */
const LOAD = Number(process.env.LOAD ?? 1);
const LOAD_SECONDS_MAX = 600;

/**
 * A test of what a person does. `walk` is given a function that keeps what has to be ended afterwards, also where
 * the journey fails: each try begins with nothing.
 */
export function attempt(name, walk, timeout = JOURNEY_MS) {
  test(name, { timeout: timeout * (RETRIES + 1) }, async () => {
    for (let tries = 0; ; tries += 1) {
      const ends = [];
      try {
        await limited(
          walk((end) => ends.push(end)),
          timeout,
        );
        return;
      } catch (error) {
        if (tries >= RETRIES) throw error;
        console.log(`once more: ${name}: ${error.message}`);
      } finally {
        for (const end of ends.reverse()) await end();
      }
    }
  });
}

async function limited(work, timeout) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done after ${timeout} ms`)), timeout);
  });
  try {
    await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Journeys of one file, over one server and one browser: each has a page of its own, in which nothing may go wrong.
 * `start` gives the server; each page is a new person where it keeps nothing.
 */
export function journeys(start = () => server('--no-store')) {
  let served, opened;
  before(async () => {
    served = await start();
    opened = await browser(process.env.CHAT_URL ?? served.url);
  });
  after(async () => {
    await opened?.stop();
    await served?.stop();
  });
  return (name, walk, { timeout, ...options } = {}) =>
    attempt(
      name,
      async (later) => {
        const page = await opened.page(options);
        later(() => page.context().close());
        await walk(page, { url: served.url, open: opened.page });
        assert.deepEqual(page.faults, []);
      },
      timeout,
    );
}

/** Answers each question with the next of these texts, whatever was asked. */
export async function replies(page, ...texts) {
  await page.route('**/v1/chat/completions', (route) => {
    const content = texts.shift() ?? 'Nothing is left.';
    const pieces = [
      { choices: [{ delta: { content } }] },
      { choices: [{ delta: {}, finish_reason: 'stop' }] },
    ];
    const body = pieces.map((piece) => `data: ${JSON.stringify(piece)}\n\n`).join('');
    return route.fulfill({ contentType: 'text/event-stream', body: `${body}data: [DONE]\n\n` });
  });
}

/** A browser; `page()` opens the chat as a new person and watches what goes wrong in it. */
export async function browser(url) {
  const busy = LOAD > 1 ? busyProgram() : null;
  const running = await chromium.launch({
    executablePath: CHROMIUM,
    args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu'],
    timeout: JOURNEY_MS,
  });
  // The first page starts half of the browser: that is no journey's time.
  await (await running.newPage()).close();
  const page = async (options = {}, address = url) => {
    const context = await running.newContext({
      viewport: { width: 1280, height: 800 },
      locale: 'en-GB',
      reducedMotion: 'reduce',
      // A worker's requests pass by a test's routes.
      serviceWorkers: 'block',
      ...options,
    });
    const opened = await context.newPage();
    opened.setDefaultTimeout(ACTION_MS);
    if (LOAD > 1) {
      const session = await context.newCDPSession(opened);
      await session.send('Emulation.setCPUThrottlingRate', { rate: LOAD });
    }
    watch(opened, new URL(address).host);
    await opened.goto(address);
    await opened
      .getByRole('textbox', { name: 'Message' })
      .or(opened.locator('#composer'))
      .waitFor();
    return opened;
  };
  const stop = async () => {
    await running.close();
    busy?.kill();
  };
  return { page, stop };
}

/** Keeps what goes wrong in a page: errors, and requests to other hosts than its own. */
function watch(page, own) {
  page.faults = [];
  page.on('pageerror', (error) => page.faults.push(String(error)));
  page.on('console', (message) => {
    if (message.type() === 'error') page.faults.push(message.text());
  });
  page.on('request', (request) => {
    const { host, protocol } = new URL(request.url());
    if (protocol.startsWith('http') && host !== own) page.faults.push(`asked ${host}`);
  });
}

/** A program that takes all it can of a processor, and ends by itself where nobody ends it. */
function busyProgram() {
  const code = `const end = Date.now() + ${LOAD_SECONDS_MAX * 1000}; while (Date.now() < end);`;
  return spawn(process.execPath, ['-e', code]);
}

/** The list beside the chat, which a narrow window hides. */
export async function showConversations(page) {
  const open = page.getByRole('button', { name: 'Show conversations' });
  if (await open.isVisible()) await open.click();
}

/** Sends a message and, unless told otherwise, waits for the whole answer. */
export async function say(page, text, { wait = true } = {}) {
  await page.locator('#composer').fill(text);
  await page.locator('button[type=submit]:enabled').waitFor();
  await page.locator('#composer').press('Enter');
  if (wait) await answered(page);
}

export async function answered(page) {
  await page.locator('article.assistant').last().locator('.tools').waitFor();
  await page.locator('[role=log][aria-busy=false]').waitFor();
}

/** Looks until what is read of the page is this, as a person would wait for it. */
export async function becomes(read, right) {
  const until = Date.now() + ACTION_MS;
  for (let found = await read(); ; found = await read()) {
    try {
      assert.deepEqual(found, right);
      return;
    } catch (error) {
      if (Date.now() > until) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** No serious or critical finding, in what is shown now. */
export async function accessible(page, screen) {
  await still(page);
  // As a person's tool would: from outside of the page's own policy.
  if (!(await page.evaluate(() => 'axe' in globalThis)))
    await page.evaluate(AXE).catch(() => page.addScriptTag({ content: AXE }));
  const { violations } = await page.evaluate(() =>
    // What a model wrote into a frame is not judged, and a frame that does not answer is waited for a minute.
    globalThis.axe.run({ resultTypes: ['violations'], iframes: false }),
  );
  const bad = violations.filter(({ impact }) => impact === 'serious' || impact === 'critical');
  const told = bad.map(
    ({ id, nodes }) =>
      `${id}: ${nodes.map(({ html, failureSummary }) => `${html}\n${failureSummary}`).join('\n')}`,
  );
  assert.deepEqual(told, [], `${screen}: what axe finds`);
}

/** Waits until nothing moves: colours in passing are not what is judged. */
export async function still(page) {
  await page.evaluate(async () => {
    const moving = document
      .getAnimations()
      .filter(({ effect }) => effect.getComputedTiming().iterations !== Infinity);
    await Promise.all(moving.map(({ finished }) => finished.catch(() => undefined)));
    for (let frames = 0; frames < 2; frames += 1)
      await new Promise((resolve) => requestAnimationFrame(resolve));
  });
}
