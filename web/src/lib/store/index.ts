// Chooses where conversations, presets and prompts are kept.
import { BrowserStore } from './browser';
import { BrowserLibrary } from './library';
import type { ConversationStore, LibraryStore } from './types';

export const store: ConversationStore = new BrowserStore();
export const library: LibraryStore = new BrowserLibrary();
