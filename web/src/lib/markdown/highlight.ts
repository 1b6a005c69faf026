// Turns code into coloured spans, with the grammar of one language loaded when it is first needed.
import type { HLJSApi, LanguageFn } from 'highlight.js';

export interface Span {
  text: string;
  kind: string;
}

type Grammar = () => Promise<{ default: LanguageFn }>;

const GRAMMARS: { [name: string]: Grammar } = {
  bash: () => import('highlight.js/lib/languages/bash'),
  c: () => import('highlight.js/lib/languages/c'),
  cpp: () => import('highlight.js/lib/languages/cpp'),
  csharp: () => import('highlight.js/lib/languages/csharp'),
  css: () => import('highlight.js/lib/languages/css'),
  dart: () => import('highlight.js/lib/languages/dart'),
  diff: () => import('highlight.js/lib/languages/diff'),
  dockerfile: () => import('highlight.js/lib/languages/dockerfile'),
  elixir: () => import('highlight.js/lib/languages/elixir'),
  go: () => import('highlight.js/lib/languages/go'),
  graphql: () => import('highlight.js/lib/languages/graphql'),
  haskell: () => import('highlight.js/lib/languages/haskell'),
  ini: () => import('highlight.js/lib/languages/ini'),
  java: () => import('highlight.js/lib/languages/java'),
  javascript: () => import('highlight.js/lib/languages/javascript'),
  json: () => import('highlight.js/lib/languages/json'),
  julia: () => import('highlight.js/lib/languages/julia'),
  kotlin: () => import('highlight.js/lib/languages/kotlin'),
  latex: () => import('highlight.js/lib/languages/latex'),
  lua: () => import('highlight.js/lib/languages/lua'),
  makefile: () => import('highlight.js/lib/languages/makefile'),
  markdown: () => import('highlight.js/lib/languages/markdown'),
  perl: () => import('highlight.js/lib/languages/perl'),
  php: () => import('highlight.js/lib/languages/php'),
  powershell: () => import('highlight.js/lib/languages/powershell'),
  python: () => import('highlight.js/lib/languages/python'),
  r: () => import('highlight.js/lib/languages/r'),
  ruby: () => import('highlight.js/lib/languages/ruby'),
  rust: () => import('highlight.js/lib/languages/rust'),
  scala: () => import('highlight.js/lib/languages/scala'),
  sql: () => import('highlight.js/lib/languages/sql'),
  swift: () => import('highlight.js/lib/languages/swift'),
  typescript: () => import('highlight.js/lib/languages/typescript'),
  xml: () => import('highlight.js/lib/languages/xml'),
  yaml: () => import('highlight.js/lib/languages/yaml'),
};

const ALIASES: { [name: string]: string } = {
  'c++': 'cpp',
  cc: 'cpp',
  cjs: 'javascript',
  cs: 'csharp',
  console: 'bash',
  docker: 'dockerfile',
  golang: 'go',
  h: 'c',
  hpp: 'cpp',
  html: 'xml',
  js: 'javascript',
  jsx: 'javascript',
  kt: 'kotlin',
  md: 'markdown',
  mjs: 'javascript',
  patch: 'diff',
  ps1: 'powershell',
  py: 'python',
  rb: 'ruby',
  rs: 'rust',
  sh: 'bash',
  shell: 'bash',
  svelte: 'xml',
  svg: 'xml',
  tex: 'latex',
  toml: 'ini',
  ts: 'typescript',
  tsx: 'typescript',
  vue: 'xml',
  yml: 'yaml',
  zsh: 'bash',
};

/** Longer code stays plain: colours are not worth a frozen page. */
const HIGHLIGHTED_MAX = 60_000;

let core: Promise<HLJSApi> | null = null;

/** The grammar's name for what a fence says, if there is one. */
export function languageOf(fence: string): string | null {
  const name =
    fence
      .trim()
      .split(/[\s{,:]/, 1)[0]
      ?.toLowerCase() ?? '';
  const known = ALIASES[name] ?? name;
  return Object.hasOwn(GRAMMARS, known) ? known : null;
}

/** The coloured spans, or null where the language is not known. The language is never guessed. */
export async function highlight(code: string, fence: string): Promise<Span[] | null> {
  const language = languageOf(fence);
  if (!language || code.length > HIGHLIGHTED_MAX) return null;
  core ??= import('highlight.js/lib/core').then((module) => module.default);
  const [hljs, grammar] = await Promise.all([core, GRAMMARS[language]?.()]);
  if (!grammar) return null;
  if (!hljs.getLanguage(language)) hljs.registerLanguage(language, grammar.default);
  return spansOf(hljs.highlight(code, { language, ignoreIllegals: true }).value);
}

/**
 * Reads highlight.js's HTML, which has spans with a class and five entities, into plain spans: no HTML
 * from anywhere reaches the page.
 */
export function spansOf(html: string): Span[] {
  const spans: Span[] = [];
  const kinds: string[] = [];
  for (const part of html.split(/(<span class="[^"]*">|<\/span>)/)) {
    const opened = /^<span class="([^"]*)">$/.exec(part);
    if (opened) kinds.push(opened[1] ?? '');
    else if (part === '</span>') kinds.pop();
    else if (part) spans.push({ text: unescaped(part), kind: kinds.at(-1) ?? '' });
  }
  return spans;
}

/** So many lines are laid out as one: a line that comes then moves only these. */
const GROUP_LINES = 40;

/** The spans, those over several lines cut, in groups of whole lines. */
export function groupsOf(spans: Span[]): Span[][] {
  const groups: Span[][] = [];
  let group: Span[] = [];
  let lines = 0;
  for (const { text, kind } of spans) {
    let start = 0;
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n', end + 1)) {
      lines += 1;
      if (lines < GROUP_LINES) continue;
      group.push({ text: text.slice(start, end + 1), kind });
      groups.push(group);
      [group, lines, start] = [[], 0, end + 1];
    }
    if (start < text.length) group.push({ text: text.slice(start), kind });
  }
  if (group.length > 0) groups.push(group);
  return groups;
}

function unescaped(text: string): string {
  return text
    .replace(/&lt;/g, '<')
    .replace(/&gt;/g, '>')
    .replace(/&quot;/g, '"')
    .replace(/&#x27;/g, "'")
    .replace(/&amp;/g, '&');
}
