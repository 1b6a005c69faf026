// Holds the three tables of words to each other.
import { describe, expect, test } from 'vitest';
import { en } from '../../src/lib/i18n/en';
import { fr } from '../../src/lib/i18n/fr';
import { zh } from '../../src/lib/i18n/zh';

/** What each value reads like; functions are called with marks, which must come through. */
function shown(value: unknown): string {
  if (typeof value === 'function') return String((value as (...marks: unknown[]) => string)(2, 3));
  return String(value);
}

describe.each([
  ['fr', fr],
  ['zh', zh],
] as const)('%s', (_, table) => {
  test('has the keys of English, no more and no fewer, in their order', () => {
    expect(Object.keys(table)).toEqual(Object.keys(en));
  });
  test.each(Object.keys(en) as (keyof typeof en)[])('%s is there', (name) => {
    const [own, english] = [table[name], en[name]];
    expect(typeof own).toBe(typeof english);
    expect(shown(own).trim()).not.toBe('');
    if (typeof english === 'function') {
      for (const mark of shown(english).match(/[23]/g) ?? []) expect(shown(own)).toContain(mark);
    }
    if (Array.isArray(english)) expect(own).toHaveLength(english.length);
  });
});

test('Chinese is Chinese, apart from names', () => {
  const names = ['appName', 'topP'];
  const latin = Object.entries(zh).filter(
    ([name, value]) => !names.includes(name) && !/\p{Script=Han}/u.test(shown(value)),
  );
  expect(latin).toEqual([]);
});
