// Looks at every screen in each theme and language, enlarged and on the narrowest phone.
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { accessible, journeys, still } from './harness.mjs';
import { groups } from './screens.mjs';

const THEMES = ['light', 'dark'];
const LANGUAGES = ['en', 'fr', 'zh'];
/** What 1280 pixels by 800 are at 200 %. */
const ENLARGED = { width: 640, height: 400 };
const NARROWEST = { width: 320, height: 640 };

/** Chooses as another tab of the same browser would: at once, and with the screen as it is. */
async function chosen(page, theme, language) {
  await page.evaluate(
    ([theme, language]) => {
      const key = 'myriad.preferences';
      const before = JSON.parse(localStorage.getItem(key) ?? '{}');
      localStorage.setItem(key, JSON.stringify({ ...before, theme, language }));
      dispatchEvent(new StorageEvent('storage', { key }));
    },
    [theme, language],
  );
  const tag = language === 'zh' ? 'zh-CN' : language;
  await page.locator(`html[data-theme="${theme}"][lang="${tag}"]`).waitFor();
}

/** Nothing scrolls sideways that is not made for it, and nothing is cut off. */
async function fits(page, screen) {
  await still(page);
  const lost = await page.evaluate(() => {
    const lost = [];
    const { scrollWidth } = document.documentElement;
    if (scrollWidth > innerWidth) lost.push(`the page is ${scrollWidth} of ${innerWidth} wide`);
    const named = (element) =>
      `${element.localName}.${element.classList[0] ?? ''} “${element.textContent.trim().slice(0, 40)}”`;
    /** Reached by scrolling, shortened with a mark, or meant for screen readers alone. */
    // What is far from the window is no more than its text, in the room that it may take.
    const spared = (element) =>
      element.closest('.section.far') !== null ||
      element.closest('.visually-hidden, svg, math, input, textarea, [inert]') !== null ||
      !element.checkVisibility({ opacityProperty: true, visibilityProperty: true });
    const scrolls = (element) => /auto|scroll/.test(getComputedStyle(element).overflowX);
    const inScroller = (element) => {
      for (let at = element; at; at = at.parentElement)
        if (scrolls(at) && at.scrollWidth > at.clientWidth) return true;
      return false;
    };
    for (const above of document.querySelectorAll('dialog[open], :popover-open')) {
      const { top, bottom } = above.getBoundingClientRect();
      if (top < -1 || bottom > innerHeight + 1)
        lost.push(`${named(above)} reaches from ${top} to ${bottom} of ${innerHeight}`);
    }
    for (const element of document.querySelectorAll('body *')) {
      if (spared(element)) continue;
      const style = getComputedStyle(element);
      const clips = /hidden|clip/.test(style.overflowX) && style.textOverflow !== 'ellipsis';
      if (clips && element.scrollWidth > element.clientWidth + 1)
        lost.push(`${named(element)} hides ${element.scrollWidth - element.clientWidth} sideways`);
      if (/hidden|clip/.test(style.overflowY) && element.scrollHeight > element.clientHeight + 1)
        lost.push(`${named(element)} hides ${element.scrollHeight - element.clientHeight} below`);
      const { left, right, width, height } = element.getBoundingClientRect();
      const outside = left < -1 || right > innerWidth + 1;
      if (width > 0 && height > 0 && outside && !inScroller(element))
        lost.push(`${named(element)} reaches from ${left} to ${right}`);
    }
    return lost;
  });
  assert.deepEqual(lost, [], `${screen}: what does not fit`);
}

/** What a browser logs of a server that asks who it is. */
const forgive = (page) =>
  (page.faults = page.faults.filter((fault) => !/status of 40[01]/.test(fault)));

function looked(start, screens) {
  const journey = journeys(start);
  for (const [name, prepare] of Object.entries(screens)) {
    journey(`${name}, in each theme and language, and enlarged`, async (page) => {
      await prepare(page);
      for (const theme of THEMES)
        for (const language of LANGUAGES) {
          await chosen(page, theme, language);
          await accessible(page, `${name}, ${theme}, ${language}`);
        }
      await page.setViewportSize(ENLARGED);
      for (const language of LANGUAGES) {
        await chosen(page, 'light', language);
        await fits(page, `${name} at 200 %, ${language}`);
      }
      forgive(page);
    });
    const phone = { viewport: NARROWEST, hasTouch: true };
    journey(
      `${name}, on the narrowest phone`,
      async (page) => {
        await prepare(page);
        for (const language of LANGUAGES) {
          await chosen(page, 'light', language);
          await fits(page, `${name} on 320 pixels, ${language}`);
        }
        await accessible(page, `${name} on 320 pixels`);
        forgive(page);
      },
      phone,
    );
  }
}

for (const [start, screens] of groups)
  describe(Object.keys(screens).join(', '), () => looked(start, screens));
