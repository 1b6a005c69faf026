// Keeps conversations on the server: every device of a person sees them.
//
// A change sends what differs from the state that the server was last known to have, so that a page
// which slept does not undo what another did. What could not be sent goes with the next change.
import { ApiFailure, request } from '../api/client';
import * as runs from '../api/runs';
import type { Conversation, ConversationStore, Hit, Message, Record } from './types';

const CHATS = '/app/chats';
const PAGE = 1000;
/** As many as the server takes at once. */
const MESSAGES_AT_ONCE = 64;

interface List {
  data: Conversation[];
  last_id: string;
  has_more: boolean;
}

export class ServerStore implements ConversationStore {
  readonly runs = runs;
  /** As the server has them, by their ids. */
  readonly #known = new Map<string, Conversation>();
  /** Messages that the server has. */
  readonly #kept = new Set<string>();
  /** Messages that are still to be sent, by conversation. */
  readonly #owed = new Map<string, Map<string, Message>>();

  /** Whether the server keeps conversations at all. One that is away did when it gave this page. */
  static async isThere(): Promise<boolean> {
    return get<{ history: boolean }>('/app/features').then(
      ({ history }) => history,
      () => true,
    );
  }

  async list(): Promise<Conversation[]> {
    const all: Conversation[] = [];
    for (let after = ''; ;) {
      const page = await get<List>(`${CHATS}?limit=${PAGE}${after && `&after=${after}`}`);
      all.push(...page.data);
      if (!page.has_more) break;
      after = page.last_id;
    }
    for (const conversation of all) this.#know(conversation);
    return all.sort((a, b) => b.updated - a.updated);
  }

  async read(id: string, withFiles = false): Promise<Record | null> {
    let record: Record;
    try {
      record = await get<Record>(`${CHATS}/${id}${withFiles ? '?files=true' : ''}`);
    } catch (error) {
      if (error instanceof ApiFailure && error.code === 'not_found') return null;
      throw error;
    }
    this.#know(record.conversation);
    for (const message of record.messages) this.#kept.add(message.id);
    return record;
  }

  async save(conversation: Conversation): Promise<void> {
    const changed = this.#changes(conversation);
    // A leaf that the server does not have yet goes with its message.
    if (changed.leaf && !this.#kept.has(changed.leaf)) delete changed.leaf;
    if (this.#known.has(conversation.id) && Object.keys(changed).length === 0) return;
    this.#know(await put<Conversation>(`${CHATS}/${conversation.id}`, changed));
  }

  async saveMessages(messages: Message[]): Promise<void> {
    for (const message of messages) {
      const owed = this.#owed.get(message.conversation) ?? new Map<string, Message>();
      this.#owed.set(message.conversation, owed.set(message.id, message));
    }
    for (const id of new Set(messages.map(({ conversation }) => conversation))) await this.#pay(id);
  }

  async #pay(id: string): Promise<void> {
    const owed = this.#owed.get(id);
    while (owed && owed.size > 0) {
      const messages = [...owed.values()].slice(0, MESSAGES_AT_ONCE);
      const leaf = messages.at(-1)?.id;
      this.#know(await put<Conversation>(`${CHATS}/${id}/messages`, { messages, leaf }));
      for (const message of messages) {
        this.#kept.add(message.id);
        if (owed.get(message.id) === message) owed.delete(message.id);
      }
    }
  }

  async remove(id: string): Promise<void> {
    await request(`${CHATS}/${id}`, { method: 'DELETE' });
    this.#known.delete(id);
    this.#owed.delete(id);
  }

  async search(words: string, hitsMax: number): Promise<Hit[]> {
    const query = new URLSearchParams({ q: words, limit: String(hitsMax) });
    return (await get<{ data: Hit[] }>(`${CHATS}/search?${query}`)).data;
  }

  async exportAll(): Promise<Record[]> {
    const lines = await (await request(`${CHATS}/export`, {})).text();
    return lines
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line) as Record);
  }

  async importAll(records: Record[]): Promise<number> {
    const body = records.map((record) => JSON.stringify(record)).join('\n');
    const headers = { 'content-type': 'application/x-ndjson' };
    const response = await request(`${CHATS}/import`, { method: 'POST', headers, body });
    return ((await response.json()) as { imported: number }).imported;
  }

  #know(conversation: Conversation): void {
    this.#known.set(conversation.id, conversation);
  }

  #changes(conversation: Conversation): Partial<Conversation> {
    const known = this.#known.get(conversation.id);
    const differs = ([name, value]: [string, unknown]) =>
      JSON.stringify(value) !== JSON.stringify(known?.[name as keyof Conversation]);
    return Object.fromEntries(Object.entries(conversation).filter(differs));
  }
}

async function get<T>(path: string): Promise<T> {
  return (await (await request(path, {})).json()) as T;
}

async function put<T>(path: string, body: unknown): Promise<T> {
  const headers = { 'content-type': 'application/json' };
  const response = await request(path, { method: 'PUT', headers, body: JSON.stringify(body) });
  return (await response.json()) as T;
}
