// Holds what is made of files: rows of tables, and exports that name them.
import { describe, expect, test } from 'vitest';
import { requestFor } from '../../src/lib/chat/answer';
import { rowsOf } from '../../src/lib/files/csv';
import { toMarkdown } from '../../src/lib/store/exchange';
import { defaultSettings, type Message } from '../../src/lib/store/types';

const file = (name: string) => ({
  id: 'file-1',
  name,
  kind: 'text' as const,
  language: null,
  bytes: 1,
  pages: null,
  tokens: 1,
});

const question = (content: string, name: string): Message => ({
  id: 'q',
  conversation: 'c',
  parent: null,
  role: 'user',
  content,
  reasoning: '',
  created: 1,
  model: null,
  status: 'done',
  failure: null,
  measures: null,
  seed: null,
  files: [file(name)],
});

describe('tables', () => {
  test.each([
    [
      'a,b\n1,2\n',
      [
        ['a', 'b'],
        ['1', '2'],
      ],
    ],
    [
      'a;b,c;d\n"x;""y""";2',
      [
        ['a', 'b,c', 'd'],
        ['x;"y"', '2'],
      ],
    ],
    [
      'a\tb\n\n"two\nlines"\t',
      [
        ['a', 'b'],
        ['two\nlines', ''],
      ],
    ],
    ['', []],
    ['"open', [['open']]],
  ])('%j', (text, rows) => expect(rowsOf(text, 10)).toEqual(rows));

  test('are cut', () => expect(rowsOf('a,b\n'.repeat(99), 5)).toHaveLength(5));
});

test('requests name files, and a message of files alone is asked', () => {
  const { messages } = requestFor('m', defaultSettings(), [question('', 'a')], null, false);
  expect(messages).toEqual([{ role: 'user', content: '', files: ['file-1'] }]);
});

test('Markdown names files as they are', () => {
  const conversation = {
    id: 'c',
    title: 't',
    titled: true,
    created: 1,
    updated: 1,
    pinned: false,
    archived: false,
    folder: null,
    model: null,
    settings: defaultSettings(),
    leaf: 'q',
  };
  const messages = [question('Sum up', '`<b>`](x) ``')];
  const text = toMarkdown({ conversation, messages }, { user: 'You', assistant: 'It' });
  expect(text).toContain('- ``` `<b>`](x) `` ```\n\nSum up');
});
