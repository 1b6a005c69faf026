// Turns Markdown into tokens: GFM as marked reads it, with mathematics, and emphasis that Chinese needs.
//
// Nothing here makes HTML. Raw HTML comes out as tokens of type `html`, which the components show as the
// text it is: so what a model writes cannot become a script.
import {
  Marked,
  Tokenizer,
  type Token,
  type TokenizerAndRendererExtension,
  type TokensList,
} from 'marked';

export interface MathToken {
  type: 'math' | 'mathBlock';
  raw: string;
  text: string;
}

/** Letters after which CommonMark would not let emphasis end behind punctuation. */
const CJK = /[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef\u3000-\u303f]/;
/** Punctuation that ends an address in Chinese and Japanese texts. */
const CJK_PUNCTUATION = /[\u3000-\u303f\uff00-\uff20\uff3b-\uff40\uff5b-\uff65]/;

const mathBlock: TokenizerAndRendererExtension = {
  name: 'mathBlock',
  level: 'block',
  start: (source) => source.match(/(^|\n) {0,3}(\$\$|\\\[)/)?.index,
  tokenizer(source) {
    const match =
      /^ {0,3}\$\$([\s\S]+?)\$\$[ \t]*(?:\n|$)/.exec(source) ??
      /^ {0,3}\\\[([\s\S]+?)\\\][ \t]*(?:\n|$)/.exec(source);
    if (!match?.[1]?.trim()) return undefined;
    return { type: 'mathBlock', raw: match[0], text: match[1].trim() };
  },
};

const math: TokenizerAndRendererExtension = {
  name: 'math',
  level: 'inline',
  start: (source) => source.match(/\$|\\\(|\\\[/)?.index,
  tokenizer(source) {
    const display = /^\$\$([^$]+?)\$\$/.exec(source) ?? /^\\\[([\s\S]+?)\\\]/.exec(source);
    if (display?.[1]?.trim())
      return { type: 'mathBlock', raw: display[0], text: display[1].trim() };
    // "$5 or $6" is money: a formula neither begins nor ends with a space, and no digit follows it.
    const match =
      /^\$(?![\s$])((?:\\.|[^\\$\n])*?[^\s\\$]|[^\s\\$])\$(?![\d\w])/.exec(source) ??
      /^\\\(([\s\S]+?)\\\)/.exec(source);
    if (!match?.[1]?.trim() || isMoney(match[1])) return undefined;
    return { type: 'math', raw: match[0], text: match[1].trim() };
  },
};

/** "$20–$" and "$1,000 to US$": an amount, then words or a dash, before the next sign. */
function isMoney(text: string): boolean {
  return (
    /^\d[\d.,]*(?:\s*[-–—/+]\s*|\s+\p{L}[\p{L}\s,]*|\s*[kKmMbB]\b.*|\p{L}*\/)?$/u.test(text) &&
    !/^\d+$/.test(text)
  );
}

/** `**重要：**后面`: CommonMark does not end emphasis between punctuation and a letter. */
const strongBesideCjk: TokenizerAndRendererExtension = {
  name: 'strongBesideCjk',
  level: 'inline',
  start: (source) => source.match(/\*\*(?!\*)/)?.index,
  tokenizer(source) {
    const match = /^\*\*(?![\s*])([^*\n]*[^\s*])\*\*(?!\*)/.exec(source);
    const text = match?.[1];
    if (!match || text === undefined) return undefined;
    const next = source.charAt(match[0].length);
    const codeIsWhole = (text.split('`').length - 1) % 2 === 0;
    if (!codeIsWhole || !(CJK.test(text) || CJK.test(next))) return undefined;
    return { type: 'strong', raw: match[0], text, tokens: this.lexer.inlineTokens(text) };
  },
};

const marked = new Marked({
  gfm: true,
  extensions: [mathBlock, math, strongBesideCjk],
  tokenizer: {
    url(source) {
      const end = source.search(CJK_PUNCTUATION);
      // marked hands its rules and lexer over in `this`.
      return Tokenizer.prototype.url.call(
        this as Tokenizer,
        end < 0 ? source : source.slice(0, end),
      );
    },
  },
});

export function lex(text: string): TokensList {
  return marked.lexer(text);
}

export type AnyToken = Token | MathToken;

/** Addresses that a click may follow. */
export function safeHref(href: string): string | null {
  try {
    const url = new URL(href);
    return ['http:', 'https:', 'mailto:'].includes(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

/** Pictures that stand in the text itself; all others would be requests to another host. */
export function embeddedImage(href: string): string | null {
  return /^data:image\/(?:png|jpeg|gif|webp);base64,[a-z0-9+/=]+$/i.test(href) ? href : null;
}

/** The text of entities that marked leaves in place. */
export function plain(text: string): string {
  return text.replace(/&(?:amp|lt|gt|quot|#39);/g, (entity) => ENTITIES[entity] ?? entity);
}
const ENTITIES: { [entity: string]: string } = {
  '&amp;': '&',
  '&lt;': '<',
  '&gt;': '>',
  '&quot;': '"',
  '&#39;': "'",
};
