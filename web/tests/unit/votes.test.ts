// Holds votes to one for each comparison, kept on the server or, where that keeps nothing, in the browser.
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { cast, leaderboard, withVote, type Vote } from '../../src/lib/chat/votes';

const vote = (comparison: string, best: string): Vote => ({
  comparison,
  models: ['a', 'b'],
  outcome: 'better',
  best,
});
const board = { votes: 1, models: [] };
const refusal = () =>
  Response.json({ error: { message: 'm', code: 'unsupported_parameter' } }, { status: 400 });

let kept = new Map<string, string>();
beforeEach(() => {
  kept = new Map();
  vi.stubGlobal('localStorage', {
    getItem: (key: string) => kept.get(key) ?? null,
    setItem: (key: string, value: string) => kept.set(key, value),
  });
});
afterEach(() => vi.unstubAllGlobals());

test('a second vote on a comparison takes the place of the first', () => {
  const votes = [vote('x', 'a'), vote('y', 'a')];
  expect(withVote(votes, vote('x', 'b'))).toEqual([vote('y', 'a'), vote('x', 'b')]);
});

test('a server that keeps votes is asked, and nothing stays here', async () => {
  const asked = vi.fn(async () => Response.json(board));
  vi.stubGlobal('fetch', asked);
  await cast(vote('x', 'a'));
  expect(await leaderboard()).toEqual(board);
  expect(asked).toHaveBeenCalledTimes(2);
  expect(kept.size).toBe(0);
});

test('where the server keeps nothing the browser does, and the server counts', async () => {
  const sent: unknown[] = [];
  vi.stubGlobal('fetch', async (path: string, init: RequestInit) => {
    if (path === '/app/votes' || init.method !== 'POST') return refusal();
    sent.push(JSON.parse(String(init.body)));
    return Response.json(board);
  });
  await cast(vote('x', 'a'));
  await cast(vote('x', 'b'));
  expect(await leaderboard()).toEqual(board);
  expect(sent).toEqual([{ votes: [vote('x', 'b')] }]);
});

test('another failure is one', async () => {
  vi.stubGlobal('fetch', async () => new Response('', { status: 500 }));
  await expect(cast(vote('x', 'a'))).rejects.toThrow();
  expect(kept.size).toBe(0);
});
