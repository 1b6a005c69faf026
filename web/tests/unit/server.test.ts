// Holds the server's store to what it promises: only what differs is sent, and what was lost is sent again.
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { ServerStore } from '../../src/lib/store/server';
import { ServerLibrary } from '../../src/lib/store/server-library';
import type { Conversation } from '../../src/lib/store/types';
import { conversation, message } from './samples';

interface Sent {
  method: string;
  path: string;
  body: unknown;
}
const prompt = (id: string, name: string) => ({ id, name, text: 'x' });
let sent: Sent[];
/** Answers by what is asked; a number is a status. */
let answer: (asked: Sent) => unknown;

beforeEach(() => {
  sent = [];
  vi.stubGlobal('localStorage', { getItem: () => null });
  vi.stubGlobal('fetch', (path: string, init: RequestInit) => {
    const text = typeof init.body === 'string' ? init.body : 'null';
    const asked = { method: init.method ?? 'GET', path, body: JSON.parse(text) as unknown };
    sent.push(asked);
    const answered = answer(asked);
    if (answered === 'away') return Promise.reject(new TypeError('away'));
    if (typeof answered !== 'number') return Promise.resolve(Response.json(answered));
    const error = { message: 'no', code: answered === 404 ? 'not_found' : 'unsupported' };
    return Promise.resolve(Response.json({ error }, { status: answered }));
  });
});
afterEach(() => void vi.unstubAllGlobals());

test('only what differs from the last known state is sent', async () => {
  const known = conversation('c', 'Title', 5);
  let kept: Conversation = known;
  answer = ({ method, body }) => {
    if (method === 'PUT') kept = { ...kept, ...(body as Conversation) };
    return method === 'PUT' ? kept : { data: [known], last_id: 'c', has_more: false };
  };
  const store = new ServerStore();
  await store.list();
  await store.save(known);
  expect(sent).toHaveLength(1);
  // Another device has renamed it: this one says nothing of titles.
  kept = { ...known, title: 'Renamed elsewhere' };
  await store.save({ ...known, pinned: true });
  expect(sent.at(-1)).toEqual({ method: 'PUT', path: '/app/chats/c', body: { pinned: true } });
});

test('a leaf goes with its message', async () => {
  const about = conversation('c', 'Title', 5);
  answer = () => about;
  const store = new ServerStore();
  await store.save({ ...about, leaf: 'q' });
  expect(sent[0]?.body).not.toHaveProperty('leaf');
  const question = { ...message('q', null, 'user', 1), conversation: 'c' };
  await store.saveMessages([question]);
  expect(sent[1]).toEqual({
    method: 'PUT',
    path: '/app/chats/c/messages',
    body: { messages: [question], leaf: 'q' },
  });
  await store.save({ ...about, leaf: 'q', pinned: true });
  expect(sent[2]?.body).toEqual({ leaf: 'q', pinned: true });
});

test('what did not arrive goes with the next change, in its order', async () => {
  const about = conversation('c', 'Title', 5);
  const of = (id: string, parent: string | null) => ({
    ...message(id, parent, 'user', 1),
    conversation: 'c',
  });
  const store = new ServerStore();
  answer = () => 'away';
  await expect(store.saveMessages([of('a', null)])).rejects.toThrow();
  answer = () => about;
  await store.saveMessages([of('b', 'a')]);
  expect(sent.at(-1)?.body).toEqual({ messages: [of('a', null), of('b', 'a')], leaf: 'b' });
  await store.saveMessages([of('d', 'b')]);
  expect(sent.at(-1)?.body).toEqual({ messages: [of('d', 'b')], leaf: 'd' });
});

test('many messages go in pieces, lists come in pages', async () => {
  answer = () => conversation('c', 'Title', 5);
  const many = Array.from({ length: 130 }, (_, index) => ({
    ...message(`m${index}`, null, 'user', index),
    conversation: 'c',
  }));
  const store = new ServerStore();
  await store.saveMessages(many);
  expect(sent.map(({ body }) => (body as { messages: unknown[] }).messages.length)).toEqual([
    64, 64, 2,
  ]);
  answer = ({ path }) =>
    path.includes('after=b')
      ? { data: [conversation('a', 'A', 9)], last_id: 'a', has_more: false }
      : { data: [conversation('b', 'B', 3)], last_id: 'b', has_more: true };
  expect((await store.list()).map(({ id }) => id)).toEqual(['a', 'b']);
});

test('a server that keeps nothing is told from one that is away', async () => {
  answer = () => ({ history: false });
  expect(await ServerStore.isThere()).toBe(false);
  answer = () => 'away';
  expect(await ServerStore.isThere()).toBe(true);
  answer = () => ({ history: true });
  expect(await ServerStore.isThere()).toBe(true);
  answer = () => 404;
  expect(await new ServerStore().read('gone')).toBeNull();
});

test('presets and prompts go to the server whole, one by one, and come sorted', async () => {
  const [ask, all] = [prompt('q', 'Ask'), prompt('r', 'All')];
  answer = ({ method }) => (method === 'GET' ? { presets: [], prompts: [ask, all] } : ask);
  const library = new ServerLibrary();
  await library.save('prompts', ask);
  expect(sent[0]).toEqual({ method: 'PUT', path: '/app/library/prompts/q', body: ask });
  await library.remove('presets', 'p');
  expect(sent[1]).toMatchObject({ method: 'DELETE', path: '/app/library/presets/p' });
  expect((await library.all()).prompts).toEqual([all, ask]);
  answer = () => 400;
  await expect(library.save('prompts', ask)).rejects.toThrow();
});
