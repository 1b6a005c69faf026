// Turns each screen of the chat into pictures in docs/screenshots: wide and narrow, light and dark.
//
// MYRIAD=path/to/myriad npm run screenshots [NAME…]
import { mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { browser, still } from '../tests/e2e/harness.mjs';
import { groups } from '../tests/e2e/screens.mjs';

const folder = fileURLToPath(new URL('../../docs/screenshots/', import.meta.url));
const only = process.argv.slice(2);

const WIDE = { width: 1200, height: 760 };
const NARROW = { width: 390, height: 780 };

mkdirSync(folder, { recursive: true });
for (const [start, screens] of groups) {
  const wanted = Object.entries(screens).filter(
    ([name]) => only.length === 0 || only.includes(name),
  );
  if (wanted.length === 0) continue;
  const served = await start();
  const opened = await browser(process.env.CHAT_URL ?? served.url);
  for (const [name, prepare] of wanted) await shoot(opened, name, prepare);
  await opened.stop();
  await served.stop();
}

async function shoot(opened, name, prepare) {
  for (const [shape, viewport] of [
    ['wide', WIDE],
    ['narrow', NARROW],
  ]) {
    for (const colorScheme of ['light', 'dark']) {
      const page = await opened.page({ viewport, colorScheme, hasTouch: shape === 'narrow' });
      await prepare(page);
      await still(page);
      await page.screenshot({ path: `${folder}${name}-${shape}-${colorScheme}.png` });
      if (page.faults.length > 0) console.error(name, shape, colorScheme, page.faults);
      await page.context().close();
    }
  }
}
