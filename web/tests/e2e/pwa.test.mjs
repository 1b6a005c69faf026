// Installs the chat: it opens without its server, and shows the newer page as soon as there is one.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before } from 'node:test';
import { front } from './front.mjs';
import { attempt, browser, server } from './harness.mjs';

const DIST = new URL('../../dist/', import.meta.url);

let served, shown, opened;
before(async () => {
  served = await server();
  shown = await front(served.url);
  opened = await browser(shown.url);
});
after(async () => {
  await opened?.stop();
  await shown?.stop();
  await served?.stop();
});

/** A page whose worker has taken over. */
async function controlled(later) {
  const page = await opened.page({ serviceWorkers: 'allow' });
  later(() => page.context().close());
  await page.waitForFunction(() => navigator.serviceWorker.controller !== null);
  return page;
}

const heading = (page) => page.getByRole('heading', { name: 'What can I help with?' });

attempt('Chromium finds nothing that keeps it from being installed', async (later) => {
  const page = await controlled(later);
  const session = await page.context().newCDPSession(page);
  const { installabilityErrors } = await session.send('Page.getInstallabilityErrors');
  // A test's browser has no profile on disk; everything else is the page's own doing.
  const own = installabilityErrors.filter(({ errorId }) => errorId !== 'in-incognito');
  assert.deepEqual(own, []);
  const { errors, url } = await session.send('Page.getAppManifest');
  assert.deepEqual([errors, new URL(url).pathname], [[], '/manifest.webmanifest']);
  const sizes = await page.evaluate(async () => {
    const { icons } = await (await fetch('/manifest.webmanifest')).json();
    const drawn = icons
      .filter(({ type }) => type === 'image/png')
      .map(async ({ src, sizes }) => {
        const image = await createImageBitmap(await (await fetch(src)).blob());
        return [sizes, `${image.width}x${image.height}`];
      });
    return Promise.all(drawn);
  });
  assert.equal(sizes.length, 3);
  for (const [said, real] of sizes) assert.equal(said, real);
  assert.deepEqual(page.faults, []);
});

attempt('without its server the chat opens, and says so', async (later) => {
  const page = await controlled(later);
  await page.context().setOffline(true);
  await page.reload();
  await page.getByText('The server cannot be reached. Is it still running?').waitFor();
  await page.context().setOffline(false);
  await page.reload();
  await heading(page).waitFor();
});

attempt('after an upgrade the page is the new one, at once', async (later) => {
  const page = await controlled(later);
  later(() => shown.replaced.clear());
  const html = readFileSync(new URL('index.html', DIST), 'utf8');
  const worker = readFileSync(new URL('sw.js', DIST), 'utf8');
  shown.replaced.set('/', html.replace('<title>', '<meta name="build" content="next" /><title>'));
  shown.replaced.set('/sw.js', worker.replace(/VERSION = '[^']+'/, "VERSION = 'next'"));
  await page.reload();
  assert.equal(
    await page.locator('meta[name=build]').count(),
    1,
    'the server’s page, not the kept',
  );
  await page.evaluate(async () => {
    while ((await caches.keys()).join() !== 'myriad-next')
      await new Promise((resolve) => setTimeout(resolve, 50));
  });
  await page.context().setOffline(true);
  await page.reload();
  assert.equal(await page.locator('meta[name=build]').count(), 1, 'the kept page is the new one');
});

attempt('only the chat’s own files are kept: nothing of a conversation', async (later) => {
  const page = await controlled(later);
  await page.reload();
  await heading(page).waitFor();
  const paths = await page.evaluate(async () => {
    const found = [];
    for (const name of await caches.keys()) {
      const requests = await (await caches.open(name)).keys();
      found.push(...requests.map(({ url }) => new URL(url).pathname));
    }
    return found;
  });
  const others = paths.filter(
    (path) => !/^\/($|assets\/|theme\.js$|icon|manifest\.webmanifest$)/.test(path),
  );
  assert.deepEqual(others, []);
  assert.ok(paths.length > 5);
});
