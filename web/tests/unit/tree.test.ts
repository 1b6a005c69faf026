// Holds the tree of a conversation to its paths and branches.
import { describe, expect, test } from 'vitest';
import { ageOf } from '../../src/lib/chat/days';
import { speedOf } from '../../src/lib/chat/speed';
import { shown } from '../../src/lib/chat/tokens';
import { comparedWith, leafBelow, pathTo, siblings, titleOf } from '../../src/lib/chat/tree';
import { noMeasures, requestFor } from '../../src/lib/chat/answer';
import { sends } from '../../src/lib/keys';
import { defaultSettings } from '../../src/lib/store/types';
import { message } from './samples';

// q1 ─ a1 ─ q2 ─ a2
//    ├ a1b
// q1b ─ a3
const tree = [
  message('q1', null, 'user', 1),
  message('a1', 'q1', 'assistant', 2),
  message('q2', 'a1', 'user', 3),
  message('a2', 'q2', 'assistant', 4),
  message('a1b', 'q1', 'assistant', 5),
  message('q1b', null, 'user', 6),
  message('a3', 'q1b', 'assistant', 7),
];
const ids = (messages: { id: string }[]) => messages.map(({ id }) => id);

describe('tree', () => {
  test('paths lead from the first message to the leaf', () => {
    expect(ids(pathTo(tree, 'a2'))).toEqual(['q1', 'a1', 'q2', 'a2']);
    expect(ids(pathTo(tree, 'a3'))).toEqual(['q1b', 'a3']);
    expect(pathTo(tree, null)).toEqual([]);
    expect(pathTo(tree, 'nobody')).toEqual([]);
  });
  test('a circle in broken data ends', () => {
    const circle = [message('a', 'b', 'user', 1), message('b', 'a', 'user', 2)];
    expect(pathTo(circle, 'a')).toHaveLength(2);
    expect(leafBelow(circle, 'a')).toBeTypeOf('string');
  });
  test('compared answers are the siblings of one comparison, until one is kept', () => {
    const of = (id: string, created: number, comparison: string | null) => ({
      ...message(id, 'q', 'assistant', created),
      comparison,
    });
    const answers = [of('b', 3, 'x'), of('a', 2, 'x'), of('old', 1, null), of('c', 4, 'y')];
    expect(ids(comparedWith(answers, answers[0]))).toEqual(['a', 'b']);
    expect(comparedWith(answers, answers[2])).toEqual([]);
    expect(comparedWith(answers, undefined)).toEqual([]);
  });
  test('versions stand beside each other', () => {
    expect(ids(siblings(tree, tree[1]!))).toEqual(['a1', 'a1b']);
    expect(ids(siblings(tree, tree[5]!))).toEqual(['q1', 'q1b']);
  });
  test('another version is shown to its end', () => {
    expect(leafBelow(tree, 'a1')).toBe('a2');
    expect(leafBelow(tree, 'a1b')).toBe('a1b');
    expect(leafBelow(tree, 'q1')).toBe('a1b');
  });
  test('titles are the first line', () => {
    expect(titleOf('  ## Hello *there*\nmore')).toBe('Hello *there*');
    expect([...titleOf('字'.repeat(100))]).toHaveLength(60);
    expect(titleOf('👩‍🚀'.repeat(1))).toBe('👩‍🚀');
  });
});

test('requests carry what was set and no more', () => {
  const path = [message('q1', null, 'user', 1), message('a1', 'q1', 'assistant', 2)];
  path[1]!.content = '';
  path[1]!.reasoning = 'hidden';
  expect(requestFor('m', defaultSettings(), path, 9, true)).toEqual({
    model: 'm',
    messages: [{ role: 'user', content: 'q1' }],
    seed: 9,
  });
  const settings = { ...defaultSettings(), temperature: 0, topP: 0.5, maxTokens: 7, system: ' s ' };
  expect(requestFor('m', settings, [], 9, true)).toEqual({
    model: 'm',
    messages: [{ role: 'system', content: 's' }],
    seed: 9,
    temperature: 0,
    top_p: 0.5,
    max_tokens: 7,
  });
});

test('days are those of the calendar', () => {
  const now = new Date(2026, 2, 1, 0, 30).getTime();
  const at = (...parts: [number, number, number, number]) =>
    ageOf(new Date(...parts).getTime(), now);
  expect(at(2026, 2, 1, 0)).toBe('today');
  expect(at(2026, 1, 28, 23)).toBe('yesterday');
  expect(at(2026, 1, 22, 12)).toBe('week');
  expect(at(2026, 1, 5, 12)).toBe('month');
  expect(at(2025, 11, 24, 12)).toEqual({ year: 2025, month: 11 });
});

test('speed leaves out the wait for the first token', () => {
  const measures = { ...noMeasures(), completionTokens: 11, firstTokenMs: 5000, totalMs: 6000 };
  expect(speedOf(measures)).toBe(10);
  expect(speedOf({ ...measures, completionTokens: 1 })).toBeNull();
  expect(speedOf({ ...measures, totalMs: 5001 })).toBeNull();
  expect(speedOf(noMeasures())).toBeNull();
});

test('tokens that are parts of a character are shown as one', () => {
  const token = (bytes: number[], logprob: number) => ({
    token: '�',
    logprob,
    bytes,
    top_logprobs: [{ token: 'other', logprob: -2, bytes: null }],
  });
  const tokens = shown([token([0xe4, 0xb8], -1), token([0xad], -1), token([0x61], 0)]);
  expect(tokens.map(({ text }) => text)).toEqual(['中', 'a']);
  expect(tokens[0]?.share).toBeCloseTo(Math.exp(-2));
  expect(tokens[0]?.others[0]?.text).toBe('other');
  expect(shown([token([0xff], 0)])[0]?.text).toBe('�');
});

test.each([
  [{ key: 'Enter' }, true],
  [{ key: 'Enter', shiftKey: true }, false],
  [{ key: 'Enter', altKey: true }, false],
  [{ key: 'Enter', isComposing: true }, false],
  [{ key: 'Enter', keyCode: 229 }, false],
  [{ key: 'a' }, false],
])('%j sends: %s', (press, right) => {
  const rest = { shiftKey: false, altKey: false, isComposing: false, keyCode: 13 };
  expect(sends({ ...rest, ...press })).toBe(right);
});

test.each([
  [null, true, {}],
  [undefined, true, {}],
  [0, true, { enable_thinking: false }],
  [512, true, { thinking_budget: 512 }],
  [512, false, {}],
])('thinking %j, where a model reasons: %s, is asked as %j', (thinking, reasons, fields) => {
  const settings = { ...defaultSettings(), ...(thinking === undefined ? {} : { thinking }) };
  const request = requestFor('m', settings, [], 9, reasons);
  expect(request).toEqual({ model: 'm', messages: [], seed: 9, ...fields });
});
