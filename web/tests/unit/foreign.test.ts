// Holds the import of other chats' exports to their shapes, and to saying what was left out.
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { imported, toMarkdown } from '../../src/lib/store/exchange';
import { fromForeign } from '../../src/lib/store/foreign';
import type { Record } from '../../src/lib/store/types';

const fixture = (name: string) =>
  imported(readFileSync(new URL(`fixtures/${name}.json`, import.meta.url), 'utf8'));
const tree = ({ messages }: Record) =>
  messages.map(({ parent, id, role, content }) => [parent, id, role, content]);

test('ChatGPT’s trees come with their branches, without pictures and tools', () => {
  const { source, records, leftOut } = fixture('chatgpt');
  expect([source, records.length]).toEqual(['ChatGPT', 1]);
  expect(leftOut).toEqual({ images: 1, tools: 2, others: 1 });
  const [lyon] = records as [Record];
  expect(tree(lyon)).toEqual([
    [null, 'u1', 'user', 'What is this tower?'],
    ['u1', 'a1', 'assistant', 'It is in Lyon.'],
    ['u1', 'a2', 'assistant', 'The **Fourvière** tower.'],
    [null, 'u1b', 'user', 'Another question'],
  ]);
  expect(lyon.conversation).toMatchObject({
    title: 'Trip to Lyon',
    titled: true,
    leaf: 'a2',
    created: 1700000000500,
    updated: 1700000900000,
  });
  expect(lyon.messages[2]).toMatchObject({ model: 'gpt-4o', reasoning: 'It is tall.' });
  const markdown = { user: 'You', assistant: 'Assistant' };
  expect(toMarkdown(lyon, { ...markdown, thoughts: 'Thoughts' })).toContain(
    '## gpt-4o\n\n> **Thoughts**\n>\n> It is tall.\n\nThe **Fourvière** tower.',
  );
  expect(toMarkdown(lyon, markdown)).not.toContain('tall');
});

test('Open WebUI’s trees come with thoughts apart, and old lists as paths', () => {
  const { source, records, leftOut } = fixture('openwebui');
  expect([source, records.length]).toEqual(['Open WebUI', 2]);
  expect(leftOut).toEqual({ images: 1, tools: 1, others: 0 });
  const [greeting, old] = records as [Record, Record];
  expect(tree(greeting)).toEqual([
    [null, 'q', 'user', 'Hello'],
    ['q', 'a', 'assistant', 'Hi!'],
    ['q', 'b', 'assistant', 'Good morning!'],
  ]);
  expect(greeting.messages[2]?.reasoning).toBe('A greeting & nothing else.');
  expect(greeting.conversation).toMatchObject({ leaf: 'b', pinned: true, archived: true });
  expect(greeting.conversation.settings.system).toBe('Be kind.');
  expect(tree(old).map(([parent, id]) => [parent, id])).toEqual([
    [null, '1'],
    ['1', '2'],
  ]);
});

test('circles, missing parents and other types do no harm', () => {
  const message = (content: unknown) => ({ author: { role: 'user' }, content });
  const parts = { content_type: 'text', parts: ['x'] };
  const mapping = {
    a: { parent: 'b', message: message(parts) },
    b: { parent: 'a', message: message(parts) },
    c: { parent: 'nobody', message: message(parts) },
    d: { parent: 'd', message: null },
    e: { parent: 7, message: message('text') },
    f: null,
  };
  const found = fromForeign([{ mapping, title: 5, create_time: 'soon', current_node: {} }]);
  expect(found?.records.map(tree)).toEqual([[[null, 'c', 'user', 'x']]]);
  expect(found?.records[0]?.conversation).toMatchObject({ title: 'x', titled: false, leaf: 'c' });
  for (const other of [null, [], {}, [{ chat: 1 }], [{ mapping: [] }], 'x'])
    expect(fromForeign(other)).toBeNull();
});
