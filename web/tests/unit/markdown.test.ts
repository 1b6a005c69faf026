// Holds the Markdown pipeline to: nothing executes, blocks stay, Chinese and money read right.
import { describe, expect, test } from 'vitest';
import { BlockReader } from '../../src/lib/markdown/blocks';
import { highlight, languageOf, spansOf } from '../../src/lib/markdown/highlight';
import { embeddedImage, lex, safeHref } from '../../src/lib/markdown/parse';
import { completed } from '../../src/lib/markdown/repair';

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

describe('a text that grows', () => {
  test.each([1, 3, 7, 40])('ends as the whole text does, in pieces of %i', (size) => {
    const reader = new BlockReader();
    for (let end = size; end < LONG.length; end += size) reader.read(LONG.slice(0, end), false);
    const grown = reader.read(LONG, true).map(({ start, token }) => [start, token.type]);
    const whole = new BlockReader().read(LONG, true).map(({ start, token }) => [start, token.type]);
    expect(grown).toEqual(whole);
  });

  test('keeps blocks that are done', () => {
    const reader = new BlockReader();
    const before = reader.read('# A\n\nfirst paragraph\n\nsecond', false);
    const after = reader.read('# A\n\nfirst paragraph\n\nsecond goes on', false);
    expect(after[0]).toBe(before[0]);
    expect(after[1]).toBe(before[1]);
    expect(after[2]).not.toBe(before[2]);
  });

  test('makes at most two blocks anew for a piece, however long it is', () => {
    const reader = new BlockReader();
    let text = '';
    let before: readonly unknown[] = [];
    for (let index = 0; index < 400; index += 1) {
      text += `Paragraph ${index} with some words.\n\n`;
      const blocks = reader.read(text, false);
      const kept = blocks.filter((block, at) => block === before[at]).length;
      expect(blocks.length - kept).toBeLessThanOrEqual(2);
      before = blocks;
    }
    expect(before.length).toBe(400);
  });

  test('another text starts afresh', () => {
    const reader = new BlockReader();
    reader.read('# A\n\nb\n\nc', false);
    expect(reader.read('other', true).map((block) => block.raw)).toEqual(['other']);
  });

  test('an unfinished fence is code', () => {
    const blocks = new BlockReader().read('Look:\n\n```python\nprint("**no**")\n', false);
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
