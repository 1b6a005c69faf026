// Turns the answers of a conversation into artifacts: the fences that can be shown beside the chat.
import type { Tokens } from 'marked';
import { lex, type AnyToken } from '../markdown/parse';
import type { Message } from '../store/types';

export type Kind = 'html' | 'svg' | 'mermaid' | 'code';

export interface Artifact {
  /** The message it is in, and which of its fences it is. */
  message: string;
  at: number;
  kind: Kind;
  /** What the fence says its language is. */
  fence: string;
  /** What it calls itself; empty where it does not. */
  title: string;
  text: string;
  /** Whether its end has come. */
  closed: boolean;
}

/** The language that a fence names. */
export function languageName(fence: string): string {
  return (
    fence
      .trim()
      .split(/[\s{,:]/, 1)[0]
      ?.toLowerCase() ?? ''
  );
}

/** What a fence's text can be shown as. */
export function kindOf(fence: string, text: string): Kind {
  const language = languageName(fence);
  if (language === 'html' || language === 'htm' || language === 'xhtml') return 'html';
  if (language === 'svg') return 'svg';
  if (language === 'mermaid' || language === 'mmd') return 'mermaid';
  if (language === 'xml' && /^\s*(?:<\?xml[^>]*>\s*)?<svg[\s>]/i.test(text)) return 'svg';
  return 'code';
}

/** Longer ones are cut: a title is a name, not a text. */
const TITLE_MAX = 80;

/** What an artifact calls itself. Those of one kind and one title are versions of each other. */
export function titleOf(kind: Kind, fence: string, text: string): string {
  if (kind === 'code') {
    const named = /(?:title|file|filename)=["']?([^"'\s]+)/i.exec(fence)?.[1];
    return (named ?? languageName(fence)).slice(0, TITLE_MAX);
  }
  const pattern = kind === 'mermaid' ? /^\s*title:?\s+(.+)$/m : /<title[^>]*>([^<]*)<\/title>/i;
  return (pattern.exec(text)?.[1] ?? '').replace(/\s+/g, ' ').trim().slice(0, TITLE_MAX);
}

/** The fences of a text, in their order, also those inside of lists and quotations. */
export function fencesOf(text: string): Tokens.Code[] {
  if (!/```|~~~/.test(text)) return [];
  const found: Tokens.Code[] = [];
  const walk = (tokens: AnyToken[]): void => {
    for (const token of tokens) {
      if (token.type === 'code' && (token as Tokens.Code).codeBlockStyle !== 'indented')
        found.push(token as Tokens.Code);
      else if (token.type === 'list')
        for (const item of (token as Tokens.List).items) walk(item.tokens);
      else if (token.type === 'blockquote') walk((token as Tokens.Blockquote).tokens);
    }
  };
  walk(lex(text));
  return found;
}

/** Whether a fence has its closing line. */
export function isClosed(raw: string): boolean {
  const opened = /^ {0,3}(`{3,}|~{3,})/.exec(raw)?.[1];
  const lines = raw.trimEnd().split('\n');
  const last = lines.at(-1)?.trim() ?? '';
  if (!opened || lines.length < 2 || last.length < opened.length) return false;
  return [...last].every((character) => character === opened[0]);
}

const kept = new WeakMap<Message, { content: string; whole: boolean; artifacts: Artifact[] }>();

/** The artifacts of one answer; kept until it changes. */
export function artifactsOf(message: Message): Artifact[] {
  if (message.role !== 'assistant') return [];
  const whole = message.status !== 'streaming';
  const before = kept.get(message);
  if (before && before.content === message.content && before.whole === whole)
    return before.artifacts;
  const artifacts = fencesOf(message.content).map((token, at): Artifact => {
    const fence = token.lang ?? '';
    const kind = kindOf(fence, token.text);
    const title = titleOf(kind, fence, token.text);
    const closed = whole || isClosed(token.raw);
    return { message: message.id, at, kind, fence, title, text: token.text, closed };
  });
  kept.set(message, { content: message.content, whole, artifacts });
  return artifacts;
}

/** All that an artifact's place in the path gives: its versions, and which of them it is. */
export function versionsOf(all: Artifact[], of: Artifact): Artifact[] {
  const same = (other: Artifact) => other.message === of.message && other.at === of.at;
  return all.filter(
    (other) => other.kind === of.kind && other.title === of.title && (other.closed || same(other)),
  );
}

const EXTENSIONS: { [language: string]: string } = {
  bash: 'sh',
  csharp: 'cs',
  javascript: 'js',
  kotlin: 'kt',
  markdown: 'md',
  python: 'py',
  ruby: 'rb',
  rust: 'rs',
  shell: 'sh',
  typescript: 'ts',
};

/** A name that is safe on every system, with the ending of its kind. */
export function fileName({ kind, fence, title }: Artifact): string {
  const language = languageName(fence);
  const written = EXTENSIONS[language] ?? language;
  const ending = { html: 'html', svg: 'svg', mermaid: 'mmd', code: written }[kind];
  const safeEnding = /^[a-z0-9]{1,10}$/.test(ending) ? ending : 'txt';
  const stem = (kind === 'code' && title === language ? '' : title)
    .normalize('NFKC')
    .replace(/[^\p{L}\p{N}._ -]+/gu, ' ')
    .replace(/\s+/g, ' ')
    .replace(/^[. ]+|[. ]+$/g, '')
    .slice(0, 60);
  const name = stem || kind;
  return name.toLowerCase().endsWith(`.${safeEnding}`) ? name : `${name}.${safeEnding}`;
}
