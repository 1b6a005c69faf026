// Says what a conversation is and what a place that keeps conversations can do.
import type { ChatFile, Passage } from '../api/files';

/** The parameters of a conversation; null is the server's default. */
export interface Settings {
  temperature: number | null;
  topP: number | null;
  maxTokens: number | null;
  seed: number | null;
  /** Tokens of reasoning; 0 is none, null what the model likes. Missing in conversations of old. */
  thinking?: number | null;
  /** Names of the tools that are on, between spaces; missing: none. */
  tools?: string;
  system: string;
}

export interface Conversation {
  id: string;
  title: string;
  /** Whether a person gave the title: then nothing else changes it. */
  titled: boolean;
  /** Milliseconds since 1970, as all times here. */
  created: number;
  updated: number;
  pinned: boolean;
  archived: boolean;
  /** The name of the folder it is in. */
  folder: string | null;
  model: string | null;
  settings: Settings;
  /** The message at which the shown path ends. */
  leaf: string | null;
}

/** How an answer was made and how long it took. */
export interface Measures {
  promptTokens: number | null;
  cachedTokens: number | null;
  completionTokens: number | null;
  firstTokenMs: number | null;
  /** Time spent on thoughts before the answer. */
  thinkingMs: number | null;
  totalMs: number | null;
}

export type Status = 'streaming' | 'done' | 'stopped' | 'length' | 'failed';

export type CallState = 'waiting' | 'running' | 'done' | 'failed' | 'refused' | 'stopped';

/** A call of a tool that a model asked for while it answered. */
export interface Call {
  id: string;
  /** Calls of one round were made at the same time. */
  round: number;
  /** How much of the message's text stands before it. */
  at: number;
  /** The tool as the model calls it. */
  name: string;
  /** Empty for the search. */
  server: string;
  /** The tool as its server calls it. */
  tool: string;
  /** JSON, as the model wrote it. */
  arguments: string;
  state: CallState;
  /** What the model was told. */
  result: string | null;
}

/** A node of a conversation's tree. */
export interface Message {
  id: string;
  conversation: string;
  parent: string | null;
  role: 'user' | 'assistant';
  content: string;
  reasoning: string;
  created: number;
  model: string | null;
  status: Status;
  failure: { kind: string; message: string; code: string | null } | null;
  measures: Measures | null;
  /** The comparison that it is an answer of, until one of them is kept: all such siblings share it. */
  comparison?: string | null;
  /** Files that came with it. */
  files?: ChatFile[];
  /** Passages of large files that it was made with, as the model saw them numbered. */
  sources?: Passage[];
  /** The calls in it, in their order; missing: none. */
  calls?: Call[];
  /** The seed that it was drawn with: with it the server gives the same tokens again. */
  seed: number | null;
}

/** A message in which a search found its words. */
export interface Hit {
  conversation: Conversation;
  /** Absent: the title was found. */
  message: string | null;
  excerpt: string;
}

/** A conversation with its whole tree: what export writes and import reads. */
export interface Record {
  conversation: Conversation;
  messages: Message[];
  /** In exports: the texts of its files. What is no longer there is null. */
  files?: ({ about: ChatFile; text: string[] } | null)[];
}

/**
 * A place that keeps conversations. Everything is asynchronous and whole objects go in and out, so that
 * a place across the network can stand behind it without a change elsewhere.
 */
export interface ConversationStore {
  /** Answers that the server makes whether a page is open or not; null where the page makes them. */
  readonly runs: typeof import('../api/runs') | null;
  list(): Promise<Conversation[]>;
  /** For exports with the texts of its files. */
  read(id: string, withFiles?: boolean): Promise<Record | null>;
  save(conversation: Conversation): Promise<void>;
  saveMessages(messages: Message[]): Promise<void>;
  remove(id: string): Promise<void>;
  /** Those that contain all words, in titles or messages, the latest first. */
  search(words: string, hitsMax: number): Promise<Hit[]>;
  exportAll(): Promise<Record[]>;
  /** Adds records under fresh ids. Returns how many. */
  importAll(records: Record[]): Promise<number>;
}

/** A way of asking that has a name: parameters with their system prompt, and a model. */
export interface Preset {
  id: string;
  name: string;
  /** Null: whichever is chosen. */
  model: string | null;
  settings: Settings;
}

/** A text that is asked again and again, with `{{variables}}`. */
export interface Prompt {
  id: string;
  name: string;
  text: string;
}

export interface Library {
  presets: Preset[];
  prompts: Prompt[];
}

/** A place that keeps presets and prompts, sorted by their names. */
export interface LibraryStore {
  all(): Promise<Library>;
  save<K extends keyof Library>(kind: K, item: Library[K][number]): Promise<void>;
  remove(kind: keyof Library, id: string): Promise<void>;
}

export const defaultSettings = (): Settings => ({
  temperature: null,
  topP: null,
  maxTokens: null,
  seed: null,
  thinking: null,
  system: '',
});
