// Turns conversations into files that other programs and people read, and such files back.
import type { ChatFile, Passage } from '../api/files';
import { pathTo } from '../chat/tree';
import { readLibrary } from './library';
import { fromForeign, type Foreign } from './foreign';
import { freshId } from '../id';
import {
  defaultSettings,
  type Call,
  type CallState,
  type Conversation,
  type Library,
  type Message,
  type Record,
} from './types';

const FORMAT = 'myriad.conversations';
const VERSION = 1;

/** All of a tree, with its branches. */
export function toJson(records: Record[], library?: Library): string {
  return JSON.stringify({ format: FORMAT, version: VERSION, records, library }, null, 2);
}

/** The shown path, for people; with its thoughts where they have a name. */
export function toMarkdown(
  { conversation, messages }: Record,
  names: { user: string; assistant: string; thoughts?: string },
): string {
  const parts = [`# ${conversation.title}`];
  if (conversation.settings.system)
    parts.push(`> ${conversation.settings.system.replace(/\n/g, '\n> ')}`);
  for (const message of pathTo(messages, conversation.leaf)) {
    const name = message.role === 'user' ? names.user : (message.model ?? names.assistant);
    parts.push(`## ${name}`);
    if (names.thoughts && message.reasoning) {
      const quoted = message.reasoning.trim().replace(/^/gm, '> ');
      parts.push(`> **${names.thoughts}**\n>\n${quoted}`);
    }
    for (const { name } of message.files ?? []) parts.push(`- ${codeSpan(name)}`);
    parts.push(message.content.trim());
  }
  return `${parts.join('\n\n')}\n`;
}

/** A text that Markdown shows as it is, whatever it says. */
function codeSpan(text: string): string {
  const longest = Math.max(0, ...(text.match(/`+/g) ?? []).map(({ length }) => length));
  const fence = '`'.repeat(longest + 1);
  return `${fence} ${text} ${fence}`;
}

/** Why a file cannot be imported. */
export class ImportFailure extends Error {}

/**
 * Reads what `toJson` wrote. Files come from anywhere: every field is checked, what is missing has its
 * default, and a tree with a broken link is refused.
 */
export function fromJson(text: string): Record[] {
  return fromFile(parsed(text));
}

/** Reads what `toJson` or another chat wrote. */
export function imported(text: string): Imported {
  const file = parsed(text);
  const foreign = fromForeign(file);
  if (foreign) return { ...foreign, library: readLibrary(null) };
  const records = fromFile(file);
  const library = readLibrary((file as { library?: unknown }).library);
  return { source: null, records, leftOut: null, library };
}

export type Imported = (Foreign | { source: null; records: Record[]; leftOut: null }) & {
  library: Library;
};

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new ImportFailure('not JSON');
  }
}

function fromFile(file: unknown): Record[] {
  if (!isObject(file) || file['format'] !== FORMAT || !Array.isArray(file['records'])) {
    throw new ImportFailure(`format: right would be "${FORMAT}"`);
  }
  if (file['version'] !== VERSION) throw new ImportFailure(`version: right would be ${VERSION}`);
  return file['records'].map((record, index) => readRecord(record, `records[${index}]`));
}

function readRecord(value: unknown, place: string): Record {
  if (!isObject(value) || !isObject(value['conversation']) || !Array.isArray(value['messages'])) {
    throw new ImportFailure(`${place}: right would be a conversation and its messages`);
  }
  const raw = value['conversation'];
  const settings = isObject(raw['settings']) ? raw['settings'] : {};
  const conversation: Conversation = {
    id: text(raw['id']),
    title: text(raw['title']),
    titled: raw['titled'] === true,
    created: number(raw['created']) ?? Date.now(),
    updated: number(raw['updated']) ?? Date.now(),
    pinned: raw['pinned'] === true,
    archived: raw['archived'] === true,
    folder: text(raw['folder']) || null,
    model: text(raw['model']) || null,
    settings: {
      ...defaultSettings(),
      temperature: number(settings['temperature']),
      topP: number(settings['topP']),
      maxTokens: number(settings['maxTokens']),
      seed: number(settings['seed']),
      thinking: number(settings['thinking']),
      system: text(settings['system']),
    },
    leaf: text(raw['leaf']) || null,
  };
  const seen = new Set<string>();
  const messages = value['messages'].map((message, index) => {
    const read = readMessage(message, conversation.id, `${place}.messages[${index}]`);
    // Parents stand before their children, so a tree has no circles.
    if (read.parent !== null && !seen.has(read.parent)) {
      throw new ImportFailure(`${place}.messages[${index}].parent: no earlier message has this id`);
    }
    seen.add(read.id);
    return read;
  });
  if (conversation.leaf !== null && !seen.has(conversation.leaf)) {
    conversation.leaf = messages.at(-1)?.id ?? null;
  }
  const files = list(value['files']).map((file) => {
    const about = isObject(file) ? readFile(file['about']) : null;
    return about && isObject(file) ? { about, text: list(file['text']).map(text) } : null;
  });
  return { conversation, messages, ...(files.length > 0 ? { files } : {}) };
}

const KINDS = ['text', 'code', 'markdown', 'csv', 'pdf', 'docx'] as const;

function readFile(value: unknown): ChatFile | null {
  if (!isObject(value) || !text(value['id'])) return null;
  return {
    id: text(value['id']),
    name: text(value['name']),
    kind: KINDS.find((kind) => kind === value['kind']) ?? 'text',
    language: text(value['language']) || null,
    bytes: number(value['bytes']) ?? 0,
    pages: number(value['pages']),
    tokens: number(value['tokens']) ?? 0,
  };
}

function readPassage(value: unknown): Passage | null {
  if (!isObject(value)) return null;
  return {
    file: text(value['file']),
    name: text(value['name']),
    page: number(value['page']),
    text: text(value['text']),
    score: number(value['score']) ?? 0,
  };
}

function readMessage(value: unknown, conversation: string, place: string): Message {
  if (!isObject(value) || !text(value['id']))
    throw new ImportFailure(`${place}.id: right would be a text`);
  const role = value['role'];
  if (role !== 'user' && role !== 'assistant') {
    throw new ImportFailure(`${place}.role: right would be "user" or "assistant"`);
  }
  const files = list(value['files']).flatMap((file) => readFile(file) ?? []);
  const sources = list(value['sources']).flatMap((source) => readPassage(source) ?? []);
  const measures = isObject(value['measures']) ? value['measures'] : null;
  const said = Array.isArray(value['calls']) ? value['calls'] : [];
  const calls = said.filter(isObject).map(readCall);
  return {
    id: text(value['id']),
    conversation,
    parent: text(value['parent']) || null,
    role,
    content: text(value['content']),
    reasoning: text(value['reasoning']),
    created: number(value['created']) ?? Date.now(),
    model: text(value['model']) || null,
    status:
      value['status'] === 'length' || value['status'] === 'stopped' ? value['status'] : 'done',
    failure: null,
    measures: measures && {
      promptTokens: number(measures['promptTokens']),
      cachedTokens: number(measures['cachedTokens']),
      completionTokens: number(measures['completionTokens']),
      firstTokenMs: number(measures['firstTokenMs']),
      thinkingMs: number(measures['thinkingMs']),
      totalMs: number(measures['totalMs']),
    },
    comparison: text(value['comparison']) || null,
    ...(files.length > 0 ? { files } : {}),
    ...(sources.length > 0 ? { sources } : {}),
    seed: number(value['seed']),
    ...(calls.length > 0 ? { calls } : {}),
  };
}

/** Which tools are on, and may be called, no file says. */
function readCall(value: { [key: string]: unknown }, index: number): Call {
  const states: CallState[] = ['done', 'failed', 'refused'];
  return {
    id:
      text(value['id'])
        .replace(/[^\w-]/g, '')
        .slice(0, 128) || `call_${index}`,
    round: Math.max(0, Math.trunc(number(value['round']) ?? 0)),
    at: Math.max(0, Math.trunc(number(value['at']) ?? 0)),
    name: text(value['name']),
    server: text(value['server']),
    tool: text(value['tool']),
    arguments: text(value['arguments']),
    state: states.find((state) => state === value['state']) ?? 'stopped',
    result: typeof value['result'] === 'string' ? value['result'] : null,
  };
}

/** The same tree under fresh ids, so that an import never writes over what is there. */
export function refreshed({ conversation, messages }: Record): Record {
  const ids = new Map(messages.map((message) => [message.id, freshId()]));
  const fresh = (id: string | null): string | null => (id === null ? null : (ids.get(id) ?? null));
  const id = freshId();
  return {
    conversation: { ...conversation, id, leaf: fresh(conversation.leaf) },
    messages: messages.map((message) => ({
      ...message,
      id: fresh(message.id) ?? freshId(),
      parent: fresh(message.parent),
      conversation: id,
    })),
  };
}

function isObject(value: unknown): value is { [key: string]: unknown } {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
const list = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);
const text = (value: unknown): string => (typeof value === 'string' ? value : '');
const number = (value: unknown): number | null =>
  typeof value === 'number' && Number.isFinite(value) ? value : null;
