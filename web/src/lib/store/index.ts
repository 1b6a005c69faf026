// Chooses where things are kept: conversations, presets and prompts on the server, or in the browser where it keeps nothing.
import { BrowserStore } from './browser';
import { BrowserLibrary } from './library';
import { ServerStore } from './server';
import { ServerLibrary } from './server-library';
import type { ConversationStore, Library, LibraryStore } from './types';

const DECLINED = 'myriad.moveDeclined';
const browser = new BrowserStore();
const shelf = new BrowserLibrary();

export let store: ConversationStore = browser;
export let library: LibraryStore = shelf;

export async function chooseStore(): Promise<void> {
  if (!(await ServerStore.isThere())) return;
  store = new ServerStore();
  library = new ServerLibrary();
}

/** How many things are in the browser although the server keeps them; asked about once. */
export async function leftInBrowser(): Promise<number> {
  if (store === browser || localStorage.getItem(DECLINED)) return 0;
  const { presets, prompts } = await shelf.all();
  return (await browser.list()).length + presets.length + prompts.length;
}

/** Takes them to the server; what has arrived there leaves the browser. */
export async function moveToServer(): Promise<void> {
  for (const record of await browser.exportAll()) {
    await store.importAll([record]);
    await browser.remove(record.conversation.id);
  }
  const { presets, prompts } = await shelf.all();
  for (const preset of presets) await move('presets', preset);
  for (const prompt of prompts) await move('prompts', prompt);
}

/** Under its own id: whoever moves twice has it once. */
async function move<K extends keyof Library>(kind: K, item: Library[K][number]): Promise<void> {
  await library.save(kind, item);
  await shelf.remove(kind, item.id);
}

export function declineToMove(): void {
  localStorage.setItem(DECLINED, 'yes');
}
