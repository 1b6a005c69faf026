// Keeps conversations in this browser's IndexedDB, where the server keeps nothing (`--no-store`).
import { excerptOf, matches, wordsOf } from './search';
import { refreshed } from './exchange';
import type { Conversation, ConversationStore, Hit, Message, Record } from './types';

const NAME = 'myriad';
const CONVERSATIONS = 'conversations';
const MESSAGES = 'messages';

export class BrowserStore implements ConversationStore {
  readonly runs = null;
  #opened: Promise<IDBDatabase> | null = null;

  async list(): Promise<Conversation[]> {
    const all = await this.#run<Conversation[]>([CONVERSATIONS], 'readonly', (tx) =>
      tx.objectStore(CONVERSATIONS).getAll(),
    );
    return all.sort((a, b) => b.updated - a.updated);
  }

  async read(id: string): Promise<Record | null> {
    const conversation = await this.#run<Conversation | undefined>(
      [CONVERSATIONS],
      'readonly',
      (tx) => tx.objectStore(CONVERSATIONS).get(id),
    );
    if (!conversation) return null;
    const messages = await this.#run<Message[]>([MESSAGES], 'readonly', (tx) =>
      tx.objectStore(MESSAGES).index('conversation').getAll(id),
    );
    return { conversation, messages: messages.sort((a, b) => a.created - b.created) };
  }

  async save(conversation: Conversation): Promise<void> {
    await this.#run([CONVERSATIONS], 'readwrite', (tx) =>
      tx.objectStore(CONVERSATIONS).put(conversation),
    );
  }

  async saveMessages(messages: Message[]): Promise<void> {
    await this.#run([MESSAGES], 'readwrite', (tx) => {
      for (const message of messages) tx.objectStore(MESSAGES).put(message);
    });
  }

  async remove(id: string): Promise<void> {
    await this.#run([CONVERSATIONS, MESSAGES], 'readwrite', (tx) => {
      tx.objectStore(CONVERSATIONS).delete(id);
      const keys = tx.objectStore(MESSAGES).index('conversation').getAllKeys(id);
      keys.onsuccess = () => keys.result.forEach((key) => tx.objectStore(MESSAGES).delete(key));
    });
  }

  async search(text: string, hitsMax: number): Promise<Hit[]> {
    const words = wordsOf(text);
    if (words.length === 0) return [];
    const hits: Hit[] = [];
    for (const conversation of await this.list()) {
      const record = await this.read(conversation.id);
      const found = record?.messages.find((message) => matches(message.content, words));
      if (matches(conversation.title, words)) {
        const first = record?.messages[0];
        const excerpt = excerptOf(found?.content ?? first?.content ?? '', words);
        hits.push({ conversation, message: found?.id ?? null, excerpt });
      } else if (found) {
        hits.push({ conversation, message: found.id, excerpt: excerptOf(found.content, words) });
      }
      if (hits.length >= hitsMax) break;
    }
    return hits;
  }

  async exportAll(): Promise<Record[]> {
    const records: Record[] = [];
    for (const { id } of await this.list()) {
      const record = await this.read(id);
      if (record) records.push(record);
    }
    return records;
  }

  async importAll(records: Record[]): Promise<number> {
    for (const record of records) {
      const { conversation, messages } = refreshed(record);
      await this.saveMessages(messages);
      await this.save(conversation);
    }
    return records.length;
  }

  /** One transaction; done when it is on disk. */
  async #run<T>(
    stores: string[],
    mode: IDBTransactionMode,
    work: (tx: IDBTransaction) => IDBRequest | void,
  ): Promise<T> {
    const database = await this.#open();
    return new Promise<T>((resolve, reject) => {
      const tx = database.transaction(stores, mode);
      const request = work(tx);
      tx.oncomplete = () => resolve(request?.result as T);
      tx.onerror = tx.onabort = () => reject(tx.error ?? new Error('the transaction was aborted'));
    });
  }

  #open(): Promise<IDBDatabase> {
    this.#opened ??= new Promise((resolve, reject) => {
      const request = indexedDB.open(NAME, 1);
      request.onupgradeneeded = () => {
        request.result.createObjectStore(CONVERSATIONS, { keyPath: 'id' });
        const messages = request.result.createObjectStore(MESSAGES, { keyPath: 'id' });
        messages.createIndex('conversation', 'conversation');
      };
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
    return this.#opened;
  }
}
