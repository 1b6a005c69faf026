// Turns a message of a conversation on the server into the answer that the server makes for it.
//
// The answer is the server's: it goes on without this page, and every page that follows sees the same.
import type { Call, Message } from '../store/types';
import type { Passage } from './files';
import { ApiFailure, request, type ChatRequest } from './client';
import { events } from './sse';

/** An event of an answer; they are numbered from 0. */
export interface RunEvent {
  content?: string;
  reasoning?: string;
  /** Before the answer: how far the reading of large files is. */
  reading?: { done: number; total: number };
  /** Before the answer: the passages that it is made with. */
  sources?: Passage[];
  /** A call as it is now; it takes the place of the one of its id. */
  call?: Call;
  /** The end: the message as the server keeps it. */
  message?: Message;
  /** After the end: the conversation's title, where the model made one. */
  title?: string;
}

const pathOf = ({ conversation, id }: Message): string =>
  `/app/chats/${conversation}/messages/${id}/run`;

/** Begins the answer; one that is on its way already is followed from its beginning. */
export async function* begin(message: Message, chat: ChatRequest): AsyncGenerator<RunEvent> {
  const response = await request(pathOf(message), {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(chat),
  });
  yield* read(response);
}

/** The events after the one of this number; -1 for all. */
export async function* follow(message: Message, after: number): AsyncGenerator<RunEvent> {
  const query = after < 0 ? '' : `?after=${after}`;
  yield* read(await request(`${pathOf(message)}${query}`, {}));
}

/** Ends the answer on the server, for every page. */
export async function stop(message: Message): Promise<Message> {
  const response = await request(pathOf(message), { method: 'DELETE' });
  return (await response.json()) as Message;
}

async function* read(response: Response): AsyncGenerator<RunEvent> {
  if (!response.body) throw new ApiFailure('broken', '');
  try {
    for await (const data of events(response.body)) {
      if (data.startsWith('[DONE]')) return;
      yield JSON.parse(data) as RunEvent;
    }
  } catch (error) {
    if (error instanceof ApiFailure) throw error;
    throw new ApiFailure('broken', '');
  }
  throw new ApiFailure('broken', '');
}
