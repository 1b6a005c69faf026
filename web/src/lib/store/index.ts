// Chooses where conversations are kept.
import { BrowserStore } from './browser';
import type { ConversationStore } from './types';

export const store: ConversationStore = new BrowserStore();
