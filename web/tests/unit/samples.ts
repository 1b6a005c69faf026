// Conversations that several tests start from.
import { defaultSettings, type Conversation, type Message } from '../../src/lib/store/types';

export function message(
  id: string,
  parent: string | null,
  role: Message['role'],
  created: number,
): Message {
  return {
    id,
    conversation: 'c',
    parent,
    role,
    content: id,
    reasoning: '',
    created,
    model: null,
    status: 'done',
    failure: null,
    measures: null,
    comparison: null,
    seed: null,
  };
}

export function conversation(id: string, title: string, updated: number): Conversation {
  return {
    id,
    title,
    titled: false,
    created: updated,
    updated,
    pinned: false,
    archived: false,
    folder: null,
    model: 'm',
    settings: defaultSettings(),
    leaf: null,
  };
}
