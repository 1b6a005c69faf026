// Holds answers with calls of tools to their parts and to what a model is told of them.
import { describe, expect, test } from 'vitest';
import { partsOf, pretty, stateOf, turnsOf } from '../../src/lib/chat/calls';
import { namesIn, switched } from '../../src/lib/chat/toolbox.svelte';
import { fromJson, toJson } from '../../src/lib/store/exchange';
import { defaultSettings, type Call, type Message } from '../../src/lib/store/types';
import { conversation } from './samples';

const call = (part: Partial<Call>): Call => ({
  id: 'c1',
  round: 0,
  at: 3,
  name: 'weather__forecast',
  server: 'weather',
  tool: 'forecast',
  arguments: '{"city":"Paris"}',
  state: 'done',
  result: 'Sunny.',
  ...part,
});

const answer = (content: string, calls?: Call[]): Message => ({
  id: 'a',
  conversation: 'c',
  parent: null,
  role: 'assistant',
  content,
  reasoning: '',
  created: 1,
  model: null,
  status: 'done',
  failure: null,
  measures: null,
  seed: null,
  ...(calls ? { calls } : {}),
});

describe('parts', () => {
  test('an answer without calls is one part', () => {
    expect(partsOf(answer('Hi'))).toEqual([{ text: 'Hi', calls: [] }]);
    expect(partsOf(answer(''))).toEqual([{ text: '', calls: [] }]);
  });

  test('calls stand where they were made, those of a round together', () => {
    const [one, two, three] = [call({}), call({ id: 'c2' }), call({ id: 'c3', round: 1, at: 9 })];
    expect(partsOf(answer('Let\n\nMore\n\nEnd.', [one, two, three]))).toEqual([
      { text: 'Let', calls: [one, two] },
      { text: 'More', calls: [three] },
      { text: 'End.', calls: [] },
    ]);
  });

  test('odd places cut nothing out', () => {
    const odd = [call({ at: 99 }), call({ id: 'c2', round: 1, at: 0 })];
    expect(partsOf(answer('Text', odd)).map(({ text }) => text)).toEqual(['Text', '']);
  });
});

describe('turns', () => {
  test('calls and results are told in their order', () => {
    const calls = [call({}), call({ id: 'c2', arguments: 'nonsense', result: null })];
    const turns = turnsOf(answer('Let\n\nEnd.', calls));
    expect(turns.map(({ role }) => role)).toEqual(['assistant', 'tool', 'tool', 'assistant']);
    expect(turns[0]?.tool_calls?.map((call) => call.function.arguments)).toEqual([
      '{"city":"Paris"}',
      '{}',
    ]);
    expect(turns[1]).toEqual({ role: 'tool', tool_call_id: 'c1', content: 'Sunny.' });
    expect(turns[2]?.content).toMatch(/stopped/);
    expect(turns[3]).toEqual({ role: 'assistant', content: 'End.' });
  });

  test('nothing is said of an empty message', () => {
    expect(turnsOf(answer(''))).toEqual([]);
    expect(turnsOf(answer('', [call({ at: 0 })]))).toHaveLength(2);
  });
});

test('arguments are shown as JSON, or as what they are', () => {
  expect(pretty('{"a":1}')).toBe('{\n  "a": 1\n}');
  expect(pretty('<b>')).toBe('<b>');
});

test('no call goes on in an answer that has ended', () => {
  const waiting = call({ state: 'waiting' });
  expect(stateOf(waiting, answer(''))).toBe('stopped');
  expect(stateOf(waiting, { ...answer(''), status: 'streaming' })).toBe('waiting');
  expect(stateOf(call({ state: 'refused' }), answer(''))).toBe('refused');
});

test('tools are off until one is switched on', () => {
  const settings = defaultSettings();
  expect(namesIn(settings)).toEqual([]);
  const on = switched(switched(settings, ['a', 'b'], true), ['a', 'c'], true);
  expect(namesIn(on)).toEqual(['b', 'a', 'c']);
  expect(namesIn(switched(on, ['a', 'b'], false))).toEqual(['c']);
});

test('calls come back from a file, and which tools are on does not', () => {
  const calls = [call({}), call({ id: 'c2', state: 'waiting', result: null })];
  const one = { conversation: conversation('c', 't', 1), messages: [answer('Hi', calls)] };
  one.conversation.settings.tools = 'weather__forecast';
  const [read] = fromJson(toJson([one]));
  expect(read?.messages[0]?.calls?.map(({ state }) => state)).toEqual(['done', 'stopped']);
  expect(read?.conversation.settings.tools).toBeUndefined();
});
