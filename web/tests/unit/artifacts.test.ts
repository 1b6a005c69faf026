// Holds artifacts to what they are found by: kinds, titles, ends, versions and names of files.
import { describe, expect, test } from 'vitest';
import {
  artifactsOf,
  fencesOf,
  fileName,
  isClosed,
  kindOf,
  titleOf,
  versionsOf,
  type Artifact,
} from '../../src/lib/artifacts/find';
import { pageOf, wordOf } from '../../src/lib/artifacts/page';
import { message } from './samples';

const artifact = (part: Partial<Artifact>): Artifact => ({
  message: 'a',
  at: 0,
  kind: 'html',
  fence: 'html',
  title: '',
  text: '',
  closed: true,
  ...part,
});

test.each([
  ['html', '', 'html'],
  ['HTML {#id}', '', 'html'],
  ['svg', '', 'svg'],
  ['xml', '<?xml version="1.0"?>\n<svg viewBox="0 0 1 1"/>', 'svg'],
  ['xml', '<svgx/>', 'code'],
  ['mermaid', '', 'mermaid'],
  ['python', '', 'code'],
  ['', '', 'code'],
])('a fence "%s" with %j is shown as %s', (fence, text, kind) => {
  expect(kindOf(fence, text)).toBe(kind);
});

test('titles are what the texts call themselves', () => {
  expect(titleOf('html', 'html', '<title>\n A  page </title>')).toBe('A page');
  expect(titleOf('svg', 'svg', '<svg><title id="t">Dot</title></svg>')).toBe('Dot');
  expect(titleOf('mermaid', 'mermaid', '---\ntitle: Flow\n---\ngraph LR')).toBe('Flow');
  expect(titleOf('code', 'python title="a.py"', '')).toBe('a.py');
  expect(titleOf('html', 'html', '<p>')).toBe('');
});

test('fences are found wherever they stand, and indented code is none', () => {
  const text =
    '```html\n1\n```\n- item\n  ```svg\n  2\n  ```\n\n> ~~~mermaid\n> 3\n> ~~~\n\n    4\n';
  expect(fencesOf(text).map(({ text }) => text)).toEqual(['1', '2', '3']);
});

test.each([
  ['```html\nx', false],
  ['```html\nx\n```', true],
  ['```html\nx\n```\n', true],
  ['````html\nx\n```', false],
  ['~~~\nx\n~~~~', true],
  ['```', false],
])('%j is closed: %s', (raw, closed) => {
  expect(isClosed(raw)).toBe(closed);
});

test('later answers of the same kind and title are versions', () => {
  const answer = (id: string, content: string, status: 'done' | 'streaming' = 'done') =>
    artifactsOf({ ...message(id, null, 'assistant', 1), content, status });
  const all = [
    ...answer('a', '```html\n<title>T</title>1\n```\n```html\n<title>U</title>\n```'),
    ...answer('b', '```html\n<title>T</title>2\n```'),
    ...answer('c', '```html\n<title>T</title>3', 'streaming'),
  ];
  const first = all[0] as Artifact;
  expect(versionsOf(all, first).map(({ message }) => message)).toEqual(['a', 'b']);
  expect(versionsOf(all, all[3] as Artifact).map(({ message }) => message)).toEqual([
    'a',
    'b',
    'c',
  ]);
});

describe('names of files', () => {
  test.each([
    [artifact({ title: '../../etc/passwd' }), 'etc passwd.html'],
    [artifact({ title: 'a\u202egpj.exe\u0000' }), 'a gpj.exe.html'],
    [artifact({ title: '...' }), 'html.html'],
    [artifact({ kind: 'svg', title: 'Dot' }), 'Dot.svg'],
    [artifact({ kind: 'code', fence: 'python', title: 'python' }), 'code.py'],
    [artifact({ kind: 'code', fence: 'python', title: 'merge.py' }), 'merge.py'],
    [artifact({ kind: 'code', fence: '../x', title: '' }), 'code.txt'],
  ])('%#', (of, name) => {
    expect(fileName(of)).toBe(name);
  });
});

test('a diagram cannot end the element that holds its text', () => {
  const text = 'graph LR\nA["</script><script>parent.fired=1</script>"]';
  const page = pageOf(artifact({ kind: 'mermaid', text }), false, 'library');
  expect(page.html).not.toContain('</script><script>parent.fired');
  expect(page.scripts[0]).toBe('library');
});

test('a page keeps its document type, and one without is a modern page', () => {
  expect(pageOf(artifact({ text: '<!DOCTYPE html><p>' }), false, '').html).toMatch(
    /^<!DOCTYPE html><script>.*<\/script><p>$/s,
  );
  expect(pageOf(artifact({ text: '<p>' }), false, '').html).toMatch(/^<!doctype html><script>/);
});

test('what frames say is read with care', () => {
  expect(wordOf({ myriad: 'failed', message: 'x'.repeat(9999) })).toEqual({
    myriad: 'failed',
    message: 'x'.repeat(400),
  });
  for (const word of [null, 'ready', {}, { myriad: 'other' }]) expect(wordOf(word)).toBeNull();
});
