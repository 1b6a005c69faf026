// Holds presets and prompts of a browser to arriving on the server once, and to staying where they cannot.
import 'fake-indexeddb/auto';
import { beforeEach, expect, test, vi } from 'vitest';
import * as places from '../../src/lib/store';
import { BrowserLibrary } from '../../src/lib/store/library';

const prompt = { id: 'q', name: 'Ask', text: 'Ask {{who}}' };
let kept: { [path: string]: unknown };
let refuses = false;

beforeEach(() => {
  kept = {};
  vi.stubGlobal('localStorage', { getItem: () => null, setItem: () => undefined });
  vi.stubGlobal('fetch', (path: string, init: RequestInit) => {
    if (path === '/app/features') return Promise.resolve(Response.json({ history: true }));
    if (init.method === 'PUT' && refuses)
      return Promise.resolve(Response.json({ error: { message: 'full' } }, { status: 400 }));
    if (init.method === 'PUT') kept[path] = JSON.parse(String(init.body)) as unknown;
    return Promise.resolve(Response.json({ data: [], has_more: false, presets: [], prompts: [] }));
  });
});

test('what was made in the browser moves, and what is refused stays', async () => {
  const browser = new BrowserLibrary();
  await browser.save('prompts', prompt);
  expect(await places.leftInBrowser()).toBe(0);
  await places.chooseStore();
  expect(await places.leftInBrowser()).toBe(1);
  refuses = true;
  await expect(places.moveToServer()).rejects.toThrow('full');
  expect(await places.leftInBrowser()).toBe(1);
  refuses = false;
  await places.moveToServer();
  expect(kept).toEqual({ '/app/library/prompts/q': prompt });
  expect(await places.leftInBrowser()).toBe(0);
  expect((await browser.all()).prompts).toEqual([]);
});
