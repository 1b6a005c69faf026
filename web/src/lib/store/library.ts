// Keeps presets and prompts in this browser's IndexedDB, in a database beside that of the conversations.
import { freshId } from '../id';
import {
  defaultSettings,
  type Library,
  type LibraryStore,
  type Preset,
  type Prompt,
} from './types';

const NAME = 'myriad.library';
const KINDS = ['presets', 'prompts'] as const;

export class BrowserLibrary implements LibraryStore {
  #opened: Promise<IDBDatabase> | null = null;

  async all(): Promise<Library> {
    const [presets, prompts] = await Promise.all(
      KINDS.map((kind) => this.#run(kind, 'readonly', (store) => store.getAll())),
    );
    return { presets: sorted(presets as Preset[]), prompts: sorted(prompts as Prompt[]) };
  }

  async save<K extends keyof Library>(kind: K, item: Library[K][number]): Promise<void> {
    await this.#run(kind, 'readwrite', (store) => store.put(item));
  }

  async remove(kind: keyof Library, id: string): Promise<void> {
    await this.#run(kind, 'readwrite', (store) => store.delete(id));
  }

  async #run(
    kind: keyof Library,
    mode: IDBTransactionMode,
    work: (store: IDBObjectStore) => IDBRequest,
  ): Promise<unknown> {
    const database = await this.#open();
    return new Promise((resolve, reject) => {
      const tx = database.transaction(kind, mode);
      const request = work(tx.objectStore(kind));
      tx.oncomplete = () => resolve(request.result);
      tx.onerror = tx.onabort = () => reject(tx.error ?? new Error('the transaction was aborted'));
    });
  }

  #open(): Promise<IDBDatabase> {
    this.#opened ??= new Promise((resolve, reject) => {
      const request = indexedDB.open(NAME, 1);
      request.onupgradeneeded = () => {
        for (const kind of KINDS) request.result.createObjectStore(kind, { keyPath: 'id' });
      };
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
    return this.#opened;
  }
}

/** By their names, as lists show them. */
export const sorted = <T extends { name: string }>(items: T[]): T[] =>
  items.sort((a, b) => a.name.localeCompare(b.name));

/** Reads presets and prompts of a file, under fresh ids; what is neither is left out. */
export function readLibrary(value: unknown): Library {
  const library = isObject(value) ? value : {};
  const items = (kind: keyof Library) =>
    (Array.isArray(library[kind]) ? library[kind] : []).filter(isObject);
  return {
    presets: items('presets')
      .filter((item) => text(item['name']))
      .map((item) => ({
        id: freshId(),
        name: text(item['name']),
        model: text(item['model']) || null,
        settings: readSettings(item['settings']),
      })),
    prompts: items('prompts')
      .filter((item) => text(item['name']) && text(item['text']))
      .map((item) => ({ id: freshId(), name: text(item['name']), text: text(item['text']) })),
  };
}

function readSettings(value: unknown): Preset['settings'] {
  const settings = isObject(value) ? value : {};
  return {
    ...defaultSettings(),
    temperature: number(settings['temperature']),
    topP: number(settings['topP']),
    maxTokens: number(settings['maxTokens']),
    seed: number(settings['seed']),
    thinking: number(settings['thinking']),
    system: text(settings['system']),
  };
}

/** The names in `{{double braces}}`, each once, in their order. */
export function variablesOf(text: string): string[] {
  return [...new Set([...text.matchAll(VARIABLE)].map((match) => (match[1] ?? '').trim()))];
}

/** The text with its variables' values, taken as they are. */
export function filled(text: string, values: { [name: string]: string }): string {
  return text.replace(VARIABLE, (whole, name: string) =>
    Object.hasOwn(values, name.trim()) ? (values[name.trim()] ?? whole) : whole,
  );
}
const VARIABLE = /\{\{([^{}\n]{1,60})\}\}/g;

function isObject(value: unknown): value is { [key: string]: unknown } {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
const text = (value: unknown): string => (typeof value === 'string' ? value : '');
const number = (value: unknown): number | null =>
  typeof value === 'number' && Number.isFinite(value) ? value : null;
