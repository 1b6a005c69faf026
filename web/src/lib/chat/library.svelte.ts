// The presets and prompts as the page shows them.
import { freshId } from '../id';
import { library as store } from '../store';
import type { Library, Preset, Prompt } from '../store/types';

class Shelf {
  presets = $state.raw<Preset[]>([]);
  prompts = $state.raw<Prompt[]>([]);
  #loaded = false;

  /** Reads what is kept, once; where storage is closed there is none. */
  async load(): Promise<void> {
    if (this.#loaded) return;
    this.#loaded = true;
    await this.#reload();
  }

  async save<K extends keyof Library>(kind: K, item: Library[K][number]): Promise<void> {
    await store.save(kind, { ...item, id: item.id || freshId() });
    await this.#reload();
  }

  async remove(kind: keyof Library, id: string): Promise<void> {
    await store.remove(kind, id);
    await this.#reload();
  }

  async add({ presets, prompts }: Library): Promise<void> {
    for (const preset of presets) await store.save('presets', preset);
    for (const prompt of prompts) await store.save('prompts', prompt);
    await this.#reload();
  }

  async #reload(): Promise<void> {
    const { presets, prompts } = await store.all().catch(() => ({ presets: [], prompts: [] }));
    this.presets = presets;
    this.prompts = prompts;
  }
}

export const shelf = new Shelf();
