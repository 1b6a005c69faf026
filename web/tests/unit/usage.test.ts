// Holds the chart of usage to one bar a day and a scale that all of them fit.
import { expect, test } from 'vitest';
import { bars, roundAbove } from '../../src/lib/usage';

const used = (name: string, tokens: number) => ({
  name,
  label: null,
  requests: 1,
  prompt_tokens: tokens,
  cached_tokens: 0,
  generated_tokens: 2,
});

test('days without a sum have their place, over the end of a month and a change of clocks', () => {
  const all = bars('2026-10-24', '2026-11-02', [used('2026-10-24', 5), used('2026-11-02', 7)]);
  expect(all.map(({ day }) => day)).toEqual([
    '2026-10-24',
    '2026-10-25',
    '2026-10-26',
    '2026-10-27',
    '2026-10-28',
    '2026-10-29',
    '2026-10-30',
    '2026-10-31',
    '2026-11-01',
    '2026-11-02',
  ]);
  expect(all.map(({ prompt }) => prompt)).toEqual([5, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
  expect(bars('2028-02-28', '2028-03-01', [])).toHaveLength(3);
});

test('the scale ends at a round number that nothing is above', () => {
  expect([0, 1, 2, 3, 9, 10, 11, 499, 501, 123_456].map(roundAbove)).toEqual([
    1, 1, 2, 5, 10, 10, 20, 500, 1000, 200_000,
  ]);
});
