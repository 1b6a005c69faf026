// Keeps presets and prompts on the server: every device of a person has them.
import { request } from '../api/client';
import { sorted } from './library';
import type { Library, LibraryStore } from './types';

const PATH = '/app/library';

export class ServerLibrary implements LibraryStore {
  async all(): Promise<Library> {
    const { presets, prompts } = (await (await request(PATH, {})).json()) as Library;
    return { presets: sorted(presets), prompts: sorted(prompts) };
  }

  async save<K extends keyof Library>(kind: K, item: Library[K][number]): Promise<void> {
    await request(`${PATH}/${kind}/${item.id}`, {
      method: 'PUT',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(item),
    });
  }

  async remove(kind: keyof Library, id: string): Promise<void> {
    await request(`${PATH}/${kind}/${id}`, { method: 'DELETE' });
  }
}
