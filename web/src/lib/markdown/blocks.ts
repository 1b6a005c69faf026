// Turns a text that grows into blocks of Markdown, of which only the last one changes.
import { lex, type AnyToken } from './parse';
import { completed } from './repair';

export interface Block {
  /** Where it begins: stays the same while the text grows. */
  start: number;
  raw: string;
  token: AnyToken;
}

/** What might still become an item of the list before it: `-`, `2`, `2.`; or a row, a heading's line. */
const UNDECIDED = /^\s*(?:[-*+=]+|\d{1,9}[.)]?)\s*$/;

/** Reads one text as it comes. Blocks before the last keep their identity, so nothing renders them again. */
export class BlockReader {
  #stable: Block[] = [];
  #stableEnd = 0;
  #text = '';

  /** The blocks of the text so far; `whole`: no more of it comes. */
  read(text: string, whole: boolean): Block[] {
    if (!text.startsWith(this.#text.slice(0, this.#stableEnd))) this.#restart();
    this.#text = text;
    const tail = this.#lexTail();
    let decided = tail.length - 1;
    if (decided > 0 && UNDECIDED.test(tail[decided]?.raw ?? '')) decided -= 1;
    for (const block of tail.slice(0, Math.max(0, decided))) {
      this.#stable.push(block);
      this.#stableEnd = block.start + block.raw.length;
    }
    const live = tail.slice(Math.max(0, decided));
    if (!whole) return [...this.#stable, ...live.map(repaired)];
    return [...this.#stable, ...live];
  }

  #restart(): void {
    this.#stable = [];
    this.#stableEnd = 0;
  }

  #lexTail(): Block[] {
    const blocks: Block[] = [];
    let start = this.#stableEnd;
    for (const token of lex(this.#text.slice(start))) {
      if (token.type !== 'space' && token.type !== 'def')
        blocks.push({ start, raw: token.raw, token });
      start += token.raw.length;
    }
    return blocks;
  }
}

/** The block with its open marks closed, so that `**bold` is bold before its end has come. */
function repaired(block: Block): Block {
  if (block.token.type === 'code' || block.token.type === 'mathBlock') return block;
  const text = completed(block.raw);
  if (text === block.raw) return block;
  const token = lex(text).find((token) => token.type !== 'space');
  return token ? { ...block, token } : block;
}
