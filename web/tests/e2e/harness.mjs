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
export async function server(...flags) {
  const data = mkdtempSync(join(tmpdir(), 'myriad-chat-'));
  let child = await started(data, '0', flags);
  const { url } = child;
  const ahead = process.env.CHAT_DIST ? await front(url) : null;
  const stop = async () => {
    await ahead?.stop();
    await child.kill();
    rmSync(data, { recursive: true, force: true });
  };
  const restart = async (...others) => {
    await child.kill();
    child = await started(data, new URL(url).port, others);
  };
  return { url: ahead?.url ?? url, stop, restart };
}

async function started(data, port, flags) {
  const binary = process.env.MYRIAD;
  assert.ok(
    binary && existsSync(binary),
    'MYRIAD names the binary: cargo build --release -p myriad',
  );
  const child = spawn(
    binary,
    ['serve', `script:${SCRIPT}`, '--port', port, '--name', 'scripted', ...flags],
    {
      env: { ...process.env, MYRIAD_DATA: data },
    },
  );
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

/** Journeys of one file, over one server and one browser: each has a page of its own, in which nothing may go wrong. */
export function journeys() {
  let served, opened;
  before(async () => {
    // Each page is a new person: what they say stays in their browsers.
    served = await server('--no-store');
    opened = await browser(process.env.CHAT_URL ?? served.url);
  });
  after(async () => {
    await opened?.stop();
    await served?.stop();
  });
  return (name, walk, { timeout = 60_000, ...options } = {}) =>
    test(name, { timeout }, async () => {
      const page = await opened.page(options);
      page.setDefaultTimeout(10_000);
      await walk(page);
      assert.deepEqual(page.faults, []);
      await page.context().close();
    });
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
  const running = await chromium.launch({
    executablePath: CHROMIUM,
    args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu'],
  });
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
    opened.faults = [];
    opened.on('pageerror', (error) => opened.faults.push(String(error)));
    opened.on('console', (message) => {
      if (message.type() === 'error') opened.faults.push(message.text());
    });
    opened.on('request', (request) => {
      const { host, protocol } = new URL(request.url());
      if (protocol.startsWith('http') && host !== new URL(address).host)
        opened.faults.push(`asked ${host}`);
    });
    await opened.goto(address);
    await opened
      .getByRole('textbox', { name: 'Message' })
      .or(opened.locator('#composer'))
      .waitFor();
    return opened;
  };
  return { page, stop: () => running.close() };
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

/** No serious or critical finding, in what is shown now. */
export async function accessible(page, screen) {
  // As a person's tool would: from outside of the page's own policy.
  await page.evaluate(AXE).catch(() => page.addScriptTag({ content: AXE }));
  const { violations } = await page.evaluate(() =>
    globalThis.axe.run({ resultTypes: ['violations'] }),
  );
  const bad = violations.filter(({ impact }) => impact === 'serious' || impact === 'critical');
  const told = bad.map(
    ({ id, nodes }) =>
      `${id}: ${nodes.map(({ html, failureSummary }) => `${html}\n${failureSummary}`).join('\n')}`,
  );
  assert.deepEqual(told, [], `${screen}: what axe finds`);
}
