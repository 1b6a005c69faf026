// Holds the browser's store, search, export and import to what they promise.
import 'fake-indexeddb/auto';
import { describe, expect, test } from 'vitest';
import { BrowserStore } from '../../src/lib/store/browser';
import { fromJson, ImportFailure, toJson, toMarkdown } from '../../src/lib/store/exchange';
import { excerptOf, matches, wordsOf } from '../../src/lib/store/search';
import { conversation, message } from './samples';

const record = () => ({
  conversation: { ...conversation('c', 'Été à la mer', 5), leaf: 'a', pinned: true, folder: 'F' },
  messages: [
    message('q', null, 'user', 1),
    { ...message('a', 'q', 'assistant', 2), content: '缩放点积注意力', model: 'm', seed: 4 },
    { ...message('b', 'q', 'assistant', 3), content: 'Another branch' },
  ],
});

test('what is kept is found again, the latest first, and gone when it is removed', async () => {
  const store = new BrowserStore();
  const { conversation: first, messages } = record();
  await store.save(first);
  await store.saveMessages(messages);
  await store.save(conversation('d', 'Later', 9));
  expect((await store.list()).map(({ id }) => id)).toEqual(['d', 'c']);
  expect(await store.read('c')).toEqual({ conversation: first, messages });
  expect(await store.read('nobody')).toBeNull();

  const found = async (words: string) => (await store.search(words, 9)).map((hit) => hit.message);
  expect(await found('ete MER')).toEqual([null]);
  expect(await found('点积')).toEqual(['a']);
  expect(await found('another')).toEqual(['b']);
  expect(await found('another missing')).toEqual([]);
  expect(await found('  ')).toEqual([]);

  await store.importAll(await store.exportAll());
  const all = await store.list();
  expect(all).toHaveLength(4);
  const copy = all.find(({ id, title }) => title === first.title && id !== 'c');
  const copied = await store.read(copy?.id ?? '');
  expect(copied?.messages.map(({ content }) => content)).toEqual(
    messages.map(({ content }) => content),
  );
  expect(copied?.messages.some(({ id }) => id === copied.conversation.leaf)).toBe(true);

  await store.remove('c');
  expect(await store.read('c')).toBeNull();
  expect(await found('another')).toHaveLength(1);
});

test('excerpts show the place', () => {
  const text = `${'before '.repeat(20)}needle ${'after '.repeat(40)}`;
  const excerpt = excerptOf(text, wordsOf('Needle'));
  expect(excerpt).toMatch(/^….*needle.*…$/);
  expect(excerpt.length).toBeLessThan(150);
  expect(matches('Crème brûlée', wordsOf('creme BRULEE'))).toBe(true);
});

describe('files', () => {
  test('JSON comes back as it went', () => {
    expect(fromJson(toJson([record()]))).toEqual([record()]);
  });

  test('Markdown has the shown path alone', () => {
    const text = toMarkdown(record(), { user: 'You', assistant: 'Assistant' });
    expect(text).toBe('# Été à la mer\n\n## You\n\nq\n\n## m\n\n缩放点积注意力\n');
  });

  const broken = (change: (file: any) => void): string => {
    const file = JSON.parse(toJson([record()]));
    change(file);
    return JSON.stringify(file);
  };
  test.each([
    ['not JSON', 'no'],
    ['format', '[]'],
    ['format', '{"format":"other","records":[]}'],
    ['version', broken((file) => (file.version = 2))],
    ['records[0]', broken((file) => (file.records[0] = null))],
    ['messages[1].role', broken((file) => (file.records[0].messages[1].role = 'system'))],
    ['messages[0].id', broken((file) => (file.records[0].messages[0].id = 7))],
    ['messages[0].parent', broken((file) => (file.records[0].messages[0].parent = 'a'))],
    ['messages[1].parent', broken((file) => (file.records[0].messages[1].parent = 'nobody'))],
  ])('%s is told where it is wrong', (place, text) => {
    expect(() => fromJson(text)).toThrow(ImportFailure);
    expect(() => fromJson(text)).toThrow(place);
  });

  test('fields of other types have their defaults', () => {
    const text = broken((file) => {
      file.records[0].conversation.settings = { temperature: 'hot', system: 5, seed: null };
      file.records[0].conversation.leaf = 'nobody';
      file.records[0].messages[0].content = { html: '<script>' };
      file.records[0].messages[1].status = 'streaming';
    });
    const [read] = fromJson(text);
    expect(read?.conversation.settings.temperature).toBeNull();
    expect(read?.conversation.leaf).toBe('b');
    expect(read?.messages[0]?.content).toBe('');
    expect(read?.messages[1]?.status).toBe('done');
  });
});
