// Turns what other chats export into conversations: ChatGPT's conversations.json, and Open WebUI's list of chats.
//
// Trees keep their branches. What has no place here is left out and counted, so that the report can say so; the
// messages behind something that is left out hang on the last one before it.
import { freshId } from '../id';
import { titleOf } from '../chat/tree';
import { defaultSettings, type Message, type Record } from './types';

/** How much did not come along, by what it was. */
export interface LeftOut {
  images: number;
  tools: number;
  others: number;
}

export interface Foreign {
  source: 'ChatGPT' | 'Open WebUI';
  records: Record[];
  leftOut: LeftOut;
}

type Dictionary = { [key: string]: unknown };

/** A message as every source has it, once its own words are read. */
interface Node {
  id: string;
  parent: string | null;
  /** Null: what is not shown here, and whose children hang on its parent. */
  message: Pick<Message, 'role' | 'content' | 'reasoning' | 'model'> | null;
  created: number;
}

/** Conversations of another program, or null where the file is none of theirs. */
export function fromForeign(file: unknown): Foreign | null {
  const list = Array.isArray(file) ? file : [file];
  const first = list.find(isObject);
  const leftOut = { images: 0, tools: 0, others: 0 };
  if (first && isObject(first['mapping'])) {
    const records = list.flatMap((chat) => chatGpt(chat, leftOut) ?? []);
    return { source: 'ChatGPT', records, leftOut };
  }
  const chat = first?.['chat'];
  if (isObject(chat) && (isObject(chat['history']) || Array.isArray(chat['messages']))) {
    const records = list.flatMap((entry) => openWebUi(entry, leftOut) ?? []);
    return { source: 'Open WebUI', records, leftOut };
  }
  return null;
}

/** `{title, create_time, update_time, mapping: {id: {id, parent, children, message}}, current_node}` */
function chatGpt(chat: unknown, leftOut: LeftOut): Record | null {
  if (!isObject(chat) || !isObject(chat['mapping'])) {
    leftOut.others += 1;
    return null;
  }
  const nodes = Object.entries(chat['mapping']).map(([id, entry]): Node => {
    const value = isObject(entry) ? entry : {};
    const message = isObject(value['message']) ? value['message'] : null;
    return {
      id,
      parent: text(value['parent']) || null,
      message: message && chatGptMessage(message, leftOut),
      created: seconds(message?.['create_time']),
    };
  });
  joinThoughts(nodes);
  return recordOf(nodes, {
    title: text(chat['title']),
    created: seconds(chat['create_time']),
    updated: seconds(chat['update_time']),
    archived: chat['is_archived'] === true,
    leaf: text(chat['current_node']),
  });
}

function chatGptMessage(message: Dictionary, leftOut: LeftOut): Node['message'] {
  const author = isObject(message['author']) ? message['author'] : {};
  const content = isObject(message['content']) ? message['content'] : {};
  const about = isObject(message['metadata']) ? message['metadata'] : {};
  const role = author['role'];
  // System messages are ChatGPT's own, and hidden ones were never shown.
  if (role === 'system' || about['is_visually_hidden_from_conversation'] === true) return null;
  const called = message['recipient'] !== undefined && message['recipient'] !== 'all';
  if (role === 'tool' || (role === 'assistant' && called)) {
    leftOut.images += partsOf(content).filter((part) => !isText(part)).length;
    leftOut.tools += 1;
    return null;
  }
  if (role !== 'user' && role !== 'assistant') return null;
  const model = text(about['model_slug']) || null;
  const type = content['content_type'];
  if (type === 'thoughts' && Array.isArray(content['thoughts'])) {
    const thoughts = content['thoughts']
      .filter(isObject)
      .map((thought) => text(thought['content']));
    return { role: 'assistant', content: '', reasoning: thoughts.join('\n\n'), model };
  }
  if (type === 'reasoning_recap' || type === 'user_editable_context') return null;
  const parts = partsOf(content);
  leftOut.images += parts.filter((part) => !isText(part)).length;
  const said =
    type === 'code'
      ? `\`\`\`${text(content['language'])}\n${text(content['text'])}\n\`\`\``
      : parts.map(textOf).filter(Boolean).join('\n\n') || text(content['text']);
  return said ? { role, content: said, reasoning: '', model } : null;
}

const partsOf = (content: Dictionary): unknown[] =>
  Array.isArray(content['parts']) ? content['parts'] : [];
const isText = (part: unknown) => typeof part === 'string' || textOf(part) !== '';
/** Parts are texts, or objects that may have one (what was spoken); pictures are pointers. */
const textOf = (part: unknown): string => (isObject(part) ? text(part['text']) : text(part));

/** ChatGPT has thoughts as messages of their own before the answer: here they are part of it. */
function joinThoughts(nodes: Node[]): void {
  const byId = new Map(nodes.map((node) => [node.id, node]));
  for (const node of nodes) {
    if (!node.message?.content || node.message.role !== 'assistant') continue;
    const thoughts: string[] = [];
    const seen = new Set<string>();
    let at = byId.get(node.parent ?? '');
    while (at && !seen.has(at.id) && !at.message?.content) {
      seen.add(at.id);
      if (at.message?.reasoning) thoughts.unshift(at.message.reasoning);
      at = byId.get(at.parent ?? '');
    }
    node.message.reasoning = thoughts.join('\n\n');
  }
  for (const node of nodes) if (node.message && !node.message.content) node.message = null;
}

/** `{title, created_at, chat: {title, history: {messages: {id: {parentId, role, content}}, currentId}}}` */
function openWebUi(entry: unknown, leftOut: LeftOut): Record | null {
  const chat = isObject(entry) ? entry['chat'] : null;
  if (!isObject(entry) || !isObject(chat)) {
    leftOut.others += 1;
    return null;
  }
  const history = isObject(chat['history']) ? chat['history'] : {};
  // Old ones have a plain list beside the tree, or instead of it.
  const list = Array.isArray(chat['messages']) ? chat['messages'] : [];
  const all = isObject(history['messages']) ? Object.values(history['messages']) : list;
  const nodes = all.filter(isObject).map((message, index): Node => {
    const before = list === all && index > 0 ? list[index - 1] : null;
    const parent = text(message['parentId']) || (isObject(before) ? text(before['id']) : '');
    return {
      id: text(message['id']) || freshId(),
      parent: parent || null,
      message: openWebUiMessage(message, leftOut),
      created: seconds(message['timestamp']),
    };
  });
  return recordOf(nodes, {
    title: text(entry['title']) || text(chat['title']),
    created: seconds(entry['created_at']) || seconds(chat['timestamp']),
    updated: seconds(entry['updated_at']),
    archived: entry['archived'] === true,
    pinned: entry['pinned'] === true,
    system: text(isObject(chat['params']) ? chat['params']['system'] : chat['system']),
    leaf: text(history['currentId']),
  });
}

function openWebUiMessage(message: Dictionary, leftOut: LeftOut): Node['message'] {
  const role = message['role'];
  if (role !== 'user' && role !== 'assistant') {
    if (role !== 'system') leftOut.tools += 1;
    return null;
  }
  if (Array.isArray(message['files'])) leftOut.images += message['files'].length;
  let content = text(message['content']);
  const reasoning: string[] = [];
  // Open WebUI writes thoughts and calls of tools into the answer, as details with a type.
  content = content.replace(
    /<details\s+type="(\w+)"[^>]*>([\s\S]*?)<\/details>\s*/g,
    (whole, type: string, inner: string) => {
      if (type === 'tool_calls' || type === 'code_interpreter') leftOut.tools += 1;
      else if (type === 'reasoning') reasoning.push(thoughtsOf(inner));
      else return whole;
      return '';
    },
  );
  const model = text(message['model']) || null;
  if (!content.trim() && reasoning.length === 0) return null;
  return { role, content: content.trim(), reasoning: reasoning.join('\n\n'), model };
}

/** They stand as a quotation under a summary, with entities. */
function thoughtsOf(inner: string): string {
  return inner
    .replace(/<summary>[\s\S]*?<\/summary>/, '')
    .replace(/^(?:>|&gt;) ?/gm, '')
    .replace(/&(lt|gt|quot|#x27|#39|amp);/g, (_, name: string) => ENTITIES[name] ?? '')
    .trim();
}
const ENTITIES: { [name: string]: string } = {
  lt: '<',
  gt: '>',
  quot: '"',
  '#x27': "'",
  '#39': "'",
  amp: '&',
};

interface About {
  title: string;
  created: number;
  updated: number;
  archived?: boolean;
  pinned?: boolean;
  system?: string;
  leaf: string;
}

/** A tree of what is shown, parents before children. Null where nothing is. */
function recordOf(nodes: Node[], about: About): Record | null {
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const shownAbove = (id: string | null): Node | null => {
    const seen = new Set<string>();
    let at = id === null ? undefined : byId.get(id);
    while (at && !at.message && !seen.has(at.id)) {
      seen.add(at.id);
      at = at.parent === null ? undefined : byId.get(at.parent);
    }
    return at?.message ? at : null;
  };
  const children = new Map<string | null, Node[]>();
  for (const node of nodes) {
    if (!node.message) continue;
    const parent = shownAbove(node.parent)?.id ?? null;
    children.set(parent, [...(children.get(parent) ?? []), node]);
  }
  const conversation = freshId();
  const messages: Message[] = [];
  const start = about.created || Date.now();
  // What stands in a circle hangs on nothing, and is never reached.
  const waiting: { node: Node; parent: string | null }[] = (children.get(null) ?? [])
    .map((node) => ({ node, parent: null }))
    .reverse();
  for (let next = waiting.pop(); next; next = waiting.pop()) {
    const { node, parent } = next;
    if (!node.message) continue;
    const above = messages.find(({ id }) => id === parent)?.created ?? start - 1;
    messages.push({
      ...node.message,
      id: node.id,
      conversation,
      parent,
      created: Math.max(above + 1, node.created),
      status: 'done',
      failure: null,
      measures: null,
      seed: null,
    });
    for (const child of (children.get(node.id) ?? []).toReversed())
      waiting.push({ node: child, parent: node.id });
  }
  if (messages.length === 0) return null;
  const shown = shownAbove(about.leaf)?.id;
  const first = messages.find(({ role }) => role === 'user') ?? messages[0];
  return {
    conversation: {
      id: conversation,
      title: about.title || titleOf(first?.content ?? ''),
      titled: about.title !== '',
      created: start,
      updated: about.updated || start,
      pinned: about.pinned ?? false,
      archived: about.archived ?? false,
      folder: null,
      model: null,
      settings: { ...defaultSettings(), system: about.system ?? '' },
      leaf: messages.some(({ id }) => id === shown)
        ? (shown ?? null)
        : (messages.at(-1)?.id ?? null),
    },
    messages,
  };
}

function isObject(value: unknown): value is Dictionary {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
const text = (value: unknown): string => (typeof value === 'string' ? value : '');
/** Seconds since 1970, or what some versions write instead: milli- and nanoseconds. */
function seconds(value: unknown): number {
  if (typeof value !== 'number' || !(value > 0)) return 0;
  if (value < 1e11) return Math.round(value * 1000);
  return Math.round(value < 1e14 ? value : value / 1e6);
}
