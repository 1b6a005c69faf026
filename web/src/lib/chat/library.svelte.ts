// The presets and prompts as the page shows them.
import { i18n } from '../i18n/index.svelte';
import { freshId } from '../id';
import { library as store } from '../store';
import type { Library, Preset, Prompt } from '../store/types';

class Shelf {
  presets = $state.raw<Preset[]>([]);
  prompts = $state.raw<Prompt[]>([]);
  /** Why the last change was not kept. */
  failure = $state('');
  #loaded = false;

  /** Reads what is kept, once; where storage is closed there is none. */
  async load(): Promise<void> {
    if (this.#loaded) return;
    this.#loaded = true;
    await this.#reload();
  }

  /** Reads it again, where it was read: it is kept elsewhere by now. */
  async refresh(): Promise<void> {
    if (this.#loaded) await this.#reload();
  }

  /** Whether it is kept. */
  save<K extends keyof Library>(kind: K, item: Library[K][number]): Promise<boolean> {
    return this.#change(() => store.save(kind, { ...item, id: item.id || freshId() }));
  }

  remove(kind: keyof Library, id: string): Promise<boolean> {
    return this.#change(() => store.remove(kind, id));
  }

  async #change(work: () => Promise<void>): Promise<boolean> {
    this.failure = '';
    try {
      await work();
    } catch (error) {
      const said = error instanceof Error ? error.message : String(error);
      this.failure = said || i18n.t.failedUnreachable;
      return false;
    }
    await this.#reload();
    return true;
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
