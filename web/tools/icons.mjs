// Turns public/icon.svg into the pictures that systems install: icon-192.png, icon-512.png, and one that may be cut.
//
// node tools/icons.mjs
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const folder = fileURLToPath(new URL('../public/', import.meta.url));
const icon = readFileSync(`${folder}icon.svg`, 'utf8');
const ground = /fill="(#[0-9a-f]{6})"/.exec(icon)[1];

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox'],
});
for (const [name, size, cut] of [
  ['icon-192', 192, false],
  ['icon-512', 512, false],
  // What a system cuts to its own shape: the ground goes to the edge, the picture stays in the safe middle.
  ['icon-maskable-512', 512, true],
]) {
  const page = await browser.newPage({ viewport: { width: size, height: size } });
  const inner = cut ? '76%' : '100%';
  await page.setContent(
    `<style>html,body{margin:0;height:100%}body{display:grid;place-items:center;` +
      `${cut ? `background:${ground}` : ''}}svg{width:${inner};height:${inner}}</style>${icon}`,
  );
  const picture = await page.screenshot({ omitBackground: true });
  writeFileSync(`${folder}${name}.png`, picture);
  await page.close();
}
await browser.close();
