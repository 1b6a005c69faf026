// One conversation as the page shows it: its tree, the path through it, and whether an answer is on its way.
import type { Conversation, Message } from '../store/types';
import { comparedWith, pathTo, placeOf, placesOf, siblings } from './tree';

export class LiveConversation {
  about = $state() as Conversation;
  messages = $state<Message[]>([]);
  /** What stops the answers that are on their way. */
  running = $state.raw<AbortController | null>(null);
  /** What stops one of them, by its message. */
  readonly stops = new Map<string, AbortController>();
  readonly path = $derived(pathTo(this.messages, this.about.leaf));

  /** Whether the path has files: its answers are not drawn again, as the page has no texts of them. */
  readonly withFiles = $derived(this.path.some(({ files }) => files && files.length > 0));

  constructor(about: Conversation, messages: Message[]) {
    this.about = about;
    this.messages = messages;
  }

  /** The answers that are compared at the path's end. */
  readonly compared = $derived(comparedWith(this.messages, this.path.at(-1)));

  /** Which messages stand at one place: each of them asks, and to go through all for each would be slow. */
  readonly #places = $derived(placesOf(this.messages));

  /** The versions at a message's place, in the order in which they were made. */
  versions(message: Message): Message[] {
    return siblings(this.#places.get(placeOf(message)) ?? [], message);
  }

  message(id: string | null): Message | undefined {
    return this.messages.find((message) => message.id === id);
  }

  /** Adds a message and shows it. Returns it as the page watches it. */
  add(message: Message): Message {
    this.messages.push(message);
    this.about.leaf = message.id;
    return this.message(message.id) ?? message;
  }
}
