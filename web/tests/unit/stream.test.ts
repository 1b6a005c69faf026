// Holds the reading of streams to the events' grammar, however their bytes are cut.
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { ApiFailure, models, pieceOf, stream } from '../../src/lib/api/client';
import { events } from '../../src/lib/api/sse';

function body(text: string, size: number): ReadableStream<Uint8Array> {
  const bytes = new TextEncoder().encode(text);
  return new ReadableStream({
    start(controller) {
      for (let at = 0; at < bytes.length; at += size)
        controller.enqueue(bytes.slice(at, at + size));
      controller.close();
    },
  });
}

async function all<T>(values: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const value of values) found.push(value);
  return found;
}

describe.each([1, 2, 3, 5, 1000])('in pieces of %i bytes', (size) => {
  test.each([
    ['data: a\n\ndata: b\n\n', ['a', 'b']],
    ['data:a\r\n\r\ndata: 中文\r\n\r\n', ['a', '中文']],
    [': keep-alive\n\nevent: x\ndata: a\ndata: b\n\n', ['a\nb']],
    ['data: unfinished', []],
    ['', []],
  ])('%j', async (text, right) => expect(await all(events(body(text, size)))).toEqual(right));
});

test('pieces take reasoning under either name', () => {
  const chunk = (delta: object) => JSON.stringify({ choices: [{ delta }] });
  expect(pieceOf(chunk({ reasoning_content: 'a', reasoning: 'a' }))).toEqual({ reasoning: 'a' });
  expect(pieceOf(chunk({ reasoning: 'a' }))).toEqual({ reasoning: 'a' });
  expect(pieceOf(chunk({ content: null }))).toEqual({});
  expect(() => pieceOf('{"error":{"message":"m","code":"c"}}')).toThrow('m');
  expect(() => pieceOf('not JSON')).toThrow(ApiFailure);
});

describe('requests', () => {
  beforeEach(() => vi.stubGlobal('localStorage', { getItem: () => 'secret' }));
  afterEach(() => vi.unstubAllGlobals());
  const answers = (response: Response | Error) => {
    const fetched = vi.fn(async (_path: string, _init: RequestInit) => {
      if (response instanceof Error) throw response;
      return response;
    });
    vi.stubGlobal('fetch', fetched);
    return fetched;
  };
  const request = { model: 'm', messages: [] };
  const read = () => all(stream(request, new AbortController().signal));

  test('a whole answer is its pieces, asked for with the key', async () => {
    const text = 'data: {"choices":[{"delta":{"content":"a"}}]}\n\ndata: [DONE]\n\n';
    const fetched = answers(new Response(body(text, 7)));
    expect(await read()).toEqual([{ content: 'a' }]);
    const init = fetched.mock.calls[0]?.[1];
    expect(new Headers(init?.headers).get('authorization')).toBe('Bearer secret');
    expect(JSON.parse(String(init?.body))).toMatchObject({
      stream: true,
      stream_options: { include_usage: true },
    });
  });

  test.each([
    ['broken', new Response(body('data: {"choices":[{"delta":{"content":"a"}}]}\n\n', 9)), ''],
    ['unreachable', new TypeError('failed to fetch'), ''],
    ['refused', Response.json({ error: { message: 'm', code: 'c' } }, { status: 400 }), 'm'],
    ['unauthorized', Response.json({ error: { message: 'm', code: 'c' } }, { status: 401 }), 'm'],
    ['server', new Response('<h1>Bad gateway</h1>', { status: 502 }), '<h1>Bad gateway</h1>'],
  ])('%s', async (kind, response, message) => {
    answers(response);
    const failure = await read().catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(ApiFailure);
    expect(failure).toMatchObject({ kind, message });
  });

  test('models have their context and whose they are', async () => {
    const own = { id: 'a', max_model_len: 9, owned_by: 'myriad' };
    answers(Response.json({ data: [own, { id: 'b' }, { id: 'far/c', owned_by: 'far' }] }));
    expect(await models()).toEqual([
      { id: 'a', context: 9, upstream: null },
      { id: 'b', context: null, upstream: null },
      { id: 'far/c', context: null, upstream: 'far' },
    ]);
  });
});
