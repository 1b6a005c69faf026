// Turns an answer with calls of tools into its parts, and into the turns that a model is told of it.
import type { ChatTurn } from '../api/client';
import type { Call, CallState, Message } from '../store/types';

/** What a model is told of a call that has no result. */
const STOPPED = 'The call was stopped before it ended.';

/** A piece of the text, and the calls that were made behind it. */
export interface Part {
  text: string;
  calls: Call[];
}

/** The parts of an answer; one without calls is one part. */
export function partsOf({ content, calls = [] }: Pick<Message, 'content' | 'calls'>): Part[] {
  const parts: Part[] = [];
  let from = 0;
  for (const call of calls) {
    const last = parts.at(-1);
    if (last && last.calls[0]?.round === call.round) {
      last.calls.push(call);
      continue;
    }
    parts.push({ text: content.slice(from, call.at), calls: [call] });
    from = Math.max(from, call.at);
  }
  const rest = content.slice(from);
  if (rest || parts.length === 0) parts.push({ text: rest, calls: [] });
  // What stands between two parts is of the page, not of the model.
  return parts.map((part, at) =>
    at === 0 ? part : { ...part, text: part.text.replace(/^\n+/, '') },
  );
}

/** What a request says of a message; nothing where nothing was said. */
export function turnsOf(message: Message): ChatTurn[] {
  const { role } = message;
  const files = message.files?.length ? { files: message.files.map(({ id }) => id) } : {};
  return partsOf(message).flatMap(({ text, calls }): ChatTurn[] => {
    if (calls.length === 0)
      return text === '' && !message.files?.length ? [] : [{ role, content: text, ...files }];
    const asked = calls.map((call) => ({
      id: call.id,
      type: 'function' as const,
      function: { name: call.name, arguments: isObject(call.arguments) ? call.arguments : '{}' },
    }));
    const told = calls.map((call): ChatTurn => ({
      role: 'tool',
      tool_call_id: call.id,
      content: call.result ?? STOPPED,
    }));
    return [{ role, content: text, tool_calls: asked }, ...told];
  });
}

/** Arguments as people read them. */
export function pretty(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

/** How far a call is: none goes on in an answer that has ended. */
export function stateOf(call: Call, message: Message): CallState {
  const over = message.status !== 'streaming';
  return over && (call.state === 'waiting' || call.state === 'running') ? 'stopped' : call.state;
}

function isObject(text: string): boolean {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value);
  } catch {
    return false;
  }
}
