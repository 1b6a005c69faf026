// Holds presets and prompts to being kept, and files of them to being read with care.
import 'fake-indexeddb/auto';
import { expect, test } from 'vitest';
import { imported, toJson } from '../../src/lib/store/exchange';
import { BrowserLibrary, filled, readLibrary, variablesOf } from '../../src/lib/store/library';
import { defaultSettings } from '../../src/lib/store/types';

const preset = {
  id: 'p',
  name: 'Terse',
  model: 'm',
  settings: { ...defaultSettings(), topP: 0.5 },
};
const prompt = { id: 'q', name: 'Ask', text: 'Ask {{who}}' };

test('what is kept is found again by name, and gone when it is removed', async () => {
  const library = new BrowserLibrary();
  await library.save('prompts', prompt);
  await library.save('prompts', { ...prompt, id: 'r', name: 'All' });
  await library.save('presets', preset);
  const { presets, prompts } = await library.all();
  expect(presets).toEqual([preset]);
  expect(prompts.map(({ name }) => name)).toEqual(['All', 'Ask']);
  await library.remove('prompts', 'r');
  expect((await library.all()).prompts).toEqual([prompt]);
});

test('a file brings them back under fresh ids', () => {
  const { library } = imported(toJson([], { presets: [preset], prompts: [prompt] }));
  expect(library.presets).toEqual([{ ...preset, id: library.presets[0]?.id }]);
  expect(library.prompts).toEqual([{ ...prompt, id: library.prompts[0]?.id }]);
  expect(library.presets[0]?.id).not.toBe('p');
  expect(readLibrary({ presets: [{}, 7, { name: 'x', settings: { topP: 'y' } }] })).toMatchObject({
    presets: [{ name: 'x', model: null, settings: defaultSettings() }],
    prompts: [],
  });
  expect(readLibrary('no')).toEqual({ presets: [], prompts: [] });
});

test('variables are asked for once, and values are taken as they are', () => {
  expect(variablesOf('{{ a }} {{b}} {{a}} {c} {{}}')).toEqual(['a', 'b']);
  expect(filled('{{ a }} {{b}} {{other}}', { a: '$& {{b}}', b: '2' })).toBe('$& {{b}} 2 {{other}}');
});
