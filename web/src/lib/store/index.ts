// Chooses where things are kept: conversations on the server, or in the browser where it keeps nothing.
import { BrowserStore } from './browser';
import { BrowserLibrary } from './library';
import { ServerStore } from './server';
import type { ConversationStore, LibraryStore } from './types';

const DECLINED = 'myriad.moveDeclined';
const browser = new BrowserStore();

export let store: ConversationStore = browser;
export const library: LibraryStore = new BrowserLibrary();

export async function chooseStore(): Promise<void> {
  if (await ServerStore.isThere()) store = new ServerStore();
}

/** How many conversations are in the browser although the server keeps them; asked about once. */
export async function leftInBrowser(): Promise<number> {
  if (store === browser || localStorage.getItem(DECLINED)) return 0;
  return (await browser.list()).length;
}

/** Takes them to the server; what has arrived there leaves the browser. */
export async function moveToServer(): Promise<void> {
  for (const record of await browser.exportAll()) {
    await store.importAll([record]);
    await browser.remove(record.conversation.id);
  }
}

export function declineToMove(): void {
  localStorage.setItem(DECLINED, 'yes');
}
