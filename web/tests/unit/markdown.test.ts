// Holds the Markdown pipeline to: nothing executes, blocks stay, Chinese and money read right.
import type { Tokens } from 'marked';
import { describe, expect, test } from 'vitest';
import { groupsOf, highlight, languageOf, spansOf } from '../../src/lib/markdown/highlight';
import { embeddedImage, lex, safeHref } from '../../src/lib/markdown/parse';
import { completed } from '../../src/lib/markdown/repair';
import { SectionReader, type Block } from '../../src/lib/markdown/sections.svelte';

/** All tokens below these, as pairs of type and text. */
function flat(tokens: readonly unknown[]): { type: string; text: string; href?: string }[] {
  return tokens.flatMap((value) => {
    const token = value as {
      type: string;
      text?: string;
      href?: string;
      tokens?: unknown[];
      items?: unknown[];
      header?: { tokens: unknown[] }[];
      rows?: { tokens: unknown[] }[][];
    };
    const cells = [...(token.header ?? []), ...(token.rows ?? []).flat()].flatMap(
      (cell) => cell.tokens,
    );
    return [
      {
        type: token.type,
        text: token.text ?? '',
        ...(token.href === undefined ? {} : { href: token.href }),
      },
      ...flat([...(token.tokens ?? []), ...(token.items ?? []), ...cells]),
    ];
  });
}
const types = (text: string) => flat(lex(text)).map((token) => token.type);
const texts = (text: string, type: string) =>
  flat(lex(text))
    .filter((token) => token.type === type)
    .map((token) => token.text);

describe('hostile addresses', () => {
  test.each([
    'javascript:alert(1)',
    'JaVaScRiPt:alert(1)',
    ' javascript:alert(1)',
    'java\nscript:alert(1)',
    'java\tscript:alert(1)',
    '\u0001javascript:alert(1)',
    'vbscript:msgbox(1)',
    'file:///etc/passwd',
    'data:text/html,<script>alert(1)</script>',
    'data:text/html;base64,PHNjcmlwdD4=',
    'blob:https://a/b',
    '//evil.example',
    '/v1/models',
    'about:blank',
    'intent://x',
    '',
  ])('%j is no link', (href) => expect(safeHref(href)).toBeNull());

  test.each(['https://a.example/x?y=1#z', 'http://127.0.0.1:8080/', 'mailto:a@b.example'])(
    '%s is one',
    (href) => expect(safeHref(href)).toBe(href),
  );

  test.each([
    'https://evil.example/pixel.png?q=secret',
    'data:image/svg+xml;base64,PHN2Zz4=',
    'data:text/html;base64,AAAA',
    'data:image/png;base64,AAAA" onerror="alert(1)',
    '/v1/models',
  ])('%j is no embedded picture', (href) => expect(embeddedImage(href)).toBeNull());
  test('a PNG in the text is one', () =>
    expect(embeddedImage('data:image/png;base64,iVBO')).not.toBeNull());
});

describe('raw HTML stays text', () => {
  test.each([
    '<script>alert(1)</script>',
    '<img src=x onerror=alert(1)>',
    '<svg onload=alert(1)>',
    '<svg/onload=alert(1)>',
    '<iframe src="javascript:alert(1)"></iframe>',
    '<a href="javascript:alert(1)">x</a>',
    '<body onload=alert(1)>',
    '<details open ontoggle=alert(1)>',
    '<math><mtext></mtext><script>alert(1)</script></math>',
    '<style>@import "//evil"</style>',
    'a <b onclick=alert(1)>b</b>',
    '<!-- --><img src=x onerror=alert(1)>',
  ])('%j', (html) => {
    const known = new Set(['html', 'text', 'paragraph', 'space', 'escape', 'link']);
    for (const token of flat(lex(html))) {
      expect(known).toContain(token.type);
      if (token.href !== undefined) expect(safeHref(token.href) ?? 'https:').toMatch(/^https:/);
    }
    expect(
      lex(html)
        .map((token) => token.raw)
        .join(''),
    ).toBe(html);
  });
});

describe('emphasis beside Chinese punctuation', () => {
  test.each([
    ['**重要：**后面的字', '重要：'],
    ['这是**“引用”**的内容', '“引用”'],
    ['**加粗（括号）。**然后', '加粗（括号）。'],
    ['请看**第一章**。', '第一章'],
    ['**注意！**请', '注意！'],
    ['他说**《书名》**很好', '《书名》'],
  ])('%s', (text, strong) => expect(texts(text, 'strong')).toEqual([strong]));
  test('stars that mark nothing stay', () => {
    expect(texts('2 ** 3 ** 4 中文', 'strong')).toEqual([]);
    expect(texts('`**代码**` 中文', 'strong')).toEqual([]);
  });
  test('an address ends before Chinese punctuation', () => {
    const link = flat(lex('见https://example.com/a。然后')).find((token) => token.type === 'link');
    expect(link?.href).toBe('https://example.com/a');
  });
});

describe('mathematics and money', () => {
  test.each([
    'It costs $5 and $10.',
    'From $20 to $30',
    '$1,000 – $2,000',
    'US$5 or US$6',
    '$5-$10',
    'a $ b $ c',
    '$100K and $200K',
    'cost $5/month and $6/month',
    'Only $5',
  ])('%j has no formula', (text) => expect(types(text)).not.toContain('math'));
  test.each([
    ['$x^2$', 'x^2'],
    ['the $n$-th', 'n'],
    ['\\(a+b\\)', 'a+b'],
    ['$\\frac{1}{2}$', '\\frac{1}{2}'],
    ['value $5$ here', '5'],
    ['中文$x$中文', 'x'],
    ['$2x + 3 = 5$', '2x + 3 = 5'],
  ])('%j has one', (text, formula) => expect(texts(text, 'math')).toEqual([formula]));
  test.each([
    ['$$\nE = mc^2\n$$', 'E = mc^2'],
    ['\\[\na\n\\]', 'a'],
    ['so $$x$$ there', 'x'],
    ['so \\[x\\] there', 'x'],
  ])('%j is displayed', (text, formula) => expect(texts(text, 'mathBlock')).toEqual([formula]));
  test('none inside code', () => {
    expect(types('`$x$` and `$y$`')).not.toContain('math');
    expect(types('```\n$$x$$\n```')).not.toContain('mathBlock');
  });
});

const LONG = `# Title

A paragraph with **bold**, *slanted*, \`code\` and a [link](https://example.com).
Second line.

1. one
2. two

   \`\`\`js
   let x = 1;

   let y = 2;
   \`\`\`

3. three

- a

- b

| a | b |
|---|--:|
| 1 | $x$ |
| 2 | **y** |

> quoted
> > twice

\`\`\`python
def f():
    return "\`"

print(f())
\`\`\`

$$
\\int_0^1 x\\,dx
$$

**注意：**完成。

---

Setext
======

End.
`;

/** Reads a text, and says which blocks are shown of it. */
function read(reader: SectionReader, text: string, whole = false): Block[] {
  reader.read(text, whole);
  return reader.sections.flatMap(({ blocks }) => blocks ?? []);
}

/** A text of so many paragraphs, each of some fifty characters. */
const paragraphs = (count: number) =>
  Array.from(
    { length: count },
    (_, index) => `Paragraph ${index} has words, and ${index} more.\n\n`,
  );

describe('a text that grows', () => {
  test.each([1, 3, 7, 40])('ends as the whole text does, in pieces of %i', (size) => {
    const reader = new SectionReader();
    for (let end = size; end < LONG.length; end += size) reader.read(LONG.slice(0, end), false);
    const ends = (blocks: Block[]) => blocks.map(({ start, token }) => [start, token.type]);
    const grown = ends(read(reader, LONG, true));
    expect(grown).toEqual(ends(read(new SectionReader(), LONG, true)));
    const tokens = lex(LONG).filter(({ type }) => type !== 'space' && type !== 'def');
    expect(grown.map(([, type]) => type)).toEqual(tokens.map(({ type }) => type));
  });

  test('keeps blocks that are done', () => {
    const reader = new SectionReader();
    const before = read(reader, '# A\n\nfirst paragraph\n\nsecond');
    const after = read(reader, '# A\n\nfirst paragraph\n\nsecond goes on');
    expect(after[0]).toBe(before[0]);
    expect(after[1]).toBe(before[1]);
    expect(after[2]).not.toBe(before[2]);
  });

  test('makes at most two blocks anew for a piece, however long it is', () => {
    const reader = new SectionReader();
    let text = '';
    let before: Block[] = [];
    for (const paragraph of paragraphs(400)) {
      text += paragraph;
      const blocks = read(reader, text);
      const kept = blocks.filter((block, at) => block === before[at]).length;
      expect(blocks.length - kept).toBeLessThanOrEqual(2);
      before = blocks;
    }
    expect(before.length).toBe(400);
  });

  test('touches its last section alone', () => {
    const reader = new SectionReader();
    reader.read(paragraphs(400).join(''), false);
    const { sections } = reader;
    const shown = sections.map(({ blocks }) => blocks);
    expect(sections.length).toBeGreaterThan(5);
    reader.read(`${paragraphs(400).join('')}One more`, false);
    expect(reader.sections).toBe(sections);
    for (const [index, section] of sections.slice(0, -1).entries())
      expect(section.blocks).toBe(shown[index]);
  });

  test('a section that is left comes back as it was', () => {
    const reader = new SectionReader();
    const text = paragraphs(400).join('');
    read(reader, text);
    reader.read(text, true);
    for (const section of reader.sections) {
      const starts = section.blocks?.map(({ start }) => start);
      section.leave();
      section.enter();
      expect(section.blocks?.map(({ start }) => start)).toEqual(starts);
    }
    expect(reader.sections.map((section) => section.text).join('')).toBe(text);
  });

  test('a long text that is there at once is shown at its ends', () => {
    const reader = new SectionReader();
    reader.read(paragraphs(400).join(''), true);
    const shown = reader.sections.map(({ blocks }) => blocks !== null);
    expect(shown.indexOf(false)).toBe(1);
    expect(shown.lastIndexOf(false)).toBe(shown.length - 2);
  });

  test('parts of the last block that stay are the same objects', () => {
    const items = (blocks: Block[]) => (blocks[0]?.token as Tokens.List).items;
    const reader = new SectionReader();
    const before = items(read(reader, '- one\n- two\n- thr'));
    const after = items(read(reader, '- one\n- two\n- three\n- fo'));
    expect(after.slice(0, 2)).toEqual(before.slice(0, 2));
    expect(after[1]).toBe(before[1]);
    expect(after[2]?.text).toBe('three');
    // A list that becomes loose is another one in all of its items.
    const loose = items(read(reader, '- one\n- two\n- three\n\n- four'));
    expect(loose[0]).not.toBe(before[0]);
    const rows = (blocks: Block[]) => (blocks[0]?.token as Tokens.Table).rows;
    const table = new SectionReader();
    const first = rows(read(table, '| a |\n|--|\n| 1 |\n| 2'))[0];
    expect(rows(read(table, '| a |\n|--|\n| 1 |\n| 23 |\n'))[0]).toBe(first);
  });

  test('lines may end in two characters', () => {
    const text = '# A\r\n\r\nfirst\r\n\r\nsecond';
    const reader = new SectionReader();
    for (let end = 1; end < text.length; end += 1) reader.read(text.slice(0, end), false);
    expect(read(reader, text, true).map(({ token }) => token.raw.trim())).toEqual([
      '# A',
      'first',
      'second',
    ]);
  });

  test('another text starts afresh, and so does one that goes on after its end', () => {
    const reader = new SectionReader();
    reader.read('# A\n\nb\n\nc', false);
    expect(read(reader, 'other', true).map(({ token }) => token.raw)).toEqual(['other']);
    expect(read(reader, 'other end').map(({ token }) => token.raw)).toEqual(['other end']);
    expect(read(reader, '')).toEqual([]);
  });

  test('an unfinished fence is code', () => {
    const blocks = read(new SectionReader(), 'Look:\n\n```python\nprint("**no**")\n');
    expect(blocks.map((block) => block.token.type)).toEqual(['paragraph', 'code']);
  });
});

describe('unfinished ends', () => {
  test.each([
    ['some **bold', 'some **bold**'],
    ['some **bold and *both', 'some **bold and *both***'],
    ['a `cod', 'a `cod`'],
    ['see [text](https://exa', 'see text'],
    ['see [tex', 'see tex'],
    ['~~gone', '~~gone~~'],
    ['some **', 'some'],
    ['x $$a+', 'x '],
    ['x \\(a', 'x '],
    ['done **bold** end', 'done **bold** end'],
    ['2 * 3', '2 * 3'],
    ['- [ ] box', '- [ ] box'],
    ['```js\nlet a = "**', '```js\nlet a = "**'],
    ['第一段\n\n**注意', '第一段\n\n**注意**'],
  ])('%j', (open, closed) => expect(completed(open)).toBe(closed));
});

describe('code', () => {
  test('keeps every character', async () => {
    const code = 'const a = "<b>&amp;\'" + `${x}`; // <script>alert(1)</script>\n';
    const spans = await highlight(code, 'ts');
    expect(spans?.map((span) => span.text).join('')).toBe(code);
    expect(spans?.some((span) => span.kind.includes('string'))).toBe(true);
  });
  test('is laid out in groups of whole lines, none lost', async () => {
    const code = `/* ${'a comment\n'.repeat(100)} */\n${'let x = 1;\n'.repeat(100)}end`;
    const groups = groupsOf((await highlight(code, 'js')) ?? []);
    expect(groups.length).toBe(6);
    expect(groups.flatMap((group) => group.map(({ text }) => text)).join('')).toBe(code);
    for (const group of groups.slice(0, -1)) expect(group.at(-1)?.text.endsWith('\n')).toBe(true);
  });
  test('is never guessed', async () => {
    expect(await highlight('let x', '')).toBeNull();
    expect(await highlight('let x', 'constructor')).toBeNull();
    expect(languageOf('js {1,3}')).toBe('javascript');
  });
  test('markup of others stays text', () => {
    const spans = spansOf('<span class="hljs-tag">&lt;img&gt;</span><img src=x>');
    expect(spans).toEqual([
      { text: '<img>', kind: 'hljs-tag' },
      { text: '<img src=x>', kind: '' },
    ]);
  });
});
