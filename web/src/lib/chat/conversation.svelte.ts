// One conversation as the page shows it: its tree, the path through it, and whether an answer is on its way.
import type { Conversation, Message } from '../store/types';
import { pathTo } from './tree';

export class LiveConversation {
  about = $state() as Conversation;
  messages = $state<Message[]>([]);
  /** What stops the answer that is on its way. */
  running = $state.raw<AbortController | null>(null);
  readonly path = $derived(pathTo(this.messages, this.about.leaf));

  constructor(about: Conversation, messages: Message[]) {
    this.about = about;
    this.messages = messages;
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
