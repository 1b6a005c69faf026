// Turns a search's text into words, and a found text into an excerpt around the first of them.

const EXCERPT_BEFORE = 32;
const EXCERPT_LENGTH = 140;

/** Lower case, without accents: "été" is found by "ete". */
function folded(text: string): string {
  return text.normalize('NFD').replace(/\p{M}/gu, '').normalize('NFC').toLowerCase();
}

/** The words that must all be there. Chinese needs no spaces: a word is found anywhere in a text. */
export function wordsOf(text: string): string[] {
  return folded(text).split(/\s+/).filter(Boolean);
}

export function matches(text: string, words: string[]): boolean {
  const searched = folded(text);
  return words.every((word) => searched.includes(word));
}

/** One line of the text, around the first word. */
export function excerptOf(text: string, words: string[]): string {
  const line = text.replace(/\s+/g, ' ').trim();
  const found = Math.max(0, folded(line).indexOf(words[0] ?? ''));
  const start = Math.max(0, found - EXCERPT_BEFORE);
  const excerpt = line.slice(start, start + EXCERPT_LENGTH);
  return `${start > 0 ? '…' : ''}${excerpt}${start + EXCERPT_LENGTH < line.length ? '…' : ''}`;
}
