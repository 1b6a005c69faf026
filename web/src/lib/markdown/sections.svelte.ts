// Turns a text that grows into sections of Markdown blocks, of which only the last block changes.
import { lex, type AnyToken } from './parse';
import { completed } from './repair';
import { kept } from './settle';

export interface Block {
  /** Where it begins: stays the same while the text grows. */
  start: number;
  token: AnyToken;
}

/** A section of so many characters is full: about a screen, so that few of them are elements at a time. */
const SECTION_CHARS = 2000;

/** What might still become an item of the list before it: `-`, `2`, `2.`; or a row, a heading's line. */
const UNDECIDED = /^\s*(?:[-*+=]+|\d{1,9}[.)]?)\s*$/;

/** Blocks that become elements, and plain text again, together. */
export class Section {
  readonly start: number;
  /** Null: far from the window, where its text stands for it. */
  blocks = $state.raw<Block[] | null>(null);
  /** The Markdown of those of its blocks that no longer change. */
  text = '';
  /** Whether its blocks have been shown. */
  shown = false;
  #done: Block[] = [];

  constructor(start: number) {
    this.start = start;
  }

  get isFull(): boolean {
    return this.text.length >= SECTION_CHARS;
  }

  add(block: Block, text: string): void {
    this.text += text;
    this.#done.push(block);
  }

  /** Shows what is done, and behind it what still changes. */
  grow(live: Block[]): void {
    this.shown = true;
    this.blocks = [...this.#done, ...live];
  }

  /** Shows its blocks again. */
  enter(): void {
    this.blocks ??= blocksOf(this.text, this.start);
  }

  /** Forgets its blocks: their tokens weigh many times what their text does. */
  leave(): void {
    this.#done = [];
    this.blocks = null;
  }
}

/** Reads one text as it comes; a piece costs the same at the end of a long text as at its beginning. */
export class SectionReader {
  /** Replaced where a section is added, and only then. */
  sections = $state.raw<Section[]>([]);
  #sections: Section[] = [];
  #text = '';
  /** What is not decided yet, a string of its own: slices of the text would keep each of its states in memory. */
  #tail = '';
  #tailStart = 0;
  #live: Block[] = [];
  #whole = false;

  /** Takes the text so far; `whole`: no more of it comes. */
  read(text: string, whole: boolean): void {
    if (this.#whole || !text.startsWith(this.#text)) this.#restart();
    const before = this.#sections.length;
    this.#tail = (this.#tail + text.slice(this.#text.length)).replace(/\r\n|\r(?!$)/g, '\n');
    this.#text = text;
    this.#whole = whole;
    const blocks = blocksOf(this.#tail, this.#tailStart);
    const decided = whole ? blocks.length : decidedOf(blocks);
    const changed = new Set<Section>();
    for (const [index, block] of blocks.slice(0, decided).entries())
      changed.add(this.#decide(block, blocks[index + 1]));
    this.#live = blocks.slice(decided).map((block) => kept(this.#live, repaired(block)));
    const [first] = this.#live;
    if (first) changed.add(this.#open(first.start));
    for (const section of changed) this.#publish(section);
    if (this.#sections.length !== before) this.sections = [...this.#sections];
  }

  #restart(): void {
    this.#sections = [];
    this.sections = [];
    this.#text = this.#tail = '';
    this.#tailStart = 0;
    this.#live = [];
  }

  /** The section that a block beginning here belongs to. */
  #open(start: number): Section {
    const last = this.#sections.at(-1);
    if (last && !last.isFull) return last;
    const section = new Section(start);
    this.#sections.push(section);
    return section;
  }

  #decide(block: Block, next: Block | undefined): Section {
    const end = next === undefined ? this.#tail.length : next.start - this.#tailStart;
    const section = this.#open(block.start);
    section.add(block, this.#tail.slice(0, end));
    this.#tail = this.#tail.slice(end);
    this.#tailStart += end;
    return section;
  }

  /** A long text that is there at once begins as text, but for its ends: where a reader may be. */
  #publish(section: Section): void {
    if (section === this.#sections.at(-1)) section.grow(this.#live);
    else if (!this.#whole || section.shown || section === this.#sections[0]) section.grow([]);
    else section.leave();
  }
}

function blocksOf(text: string, start: number): Block[] {
  const blocks: Block[] = [];
  for (const token of lex(text)) {
    if (token.type !== 'space' && token.type !== 'def') blocks.push({ start, token });
    start += token.raw.length;
  }
  return blocks;
}

/** How many of a tail's blocks no longer change. */
function decidedOf(blocks: Block[]): number {
  const last = blocks.length - 1;
  const undecided = last > 0 && UNDECIDED.test(blocks[last]?.token.raw ?? '');
  return Math.max(0, undecided ? last - 1 : last);
}

/** The block with its open marks closed, so that `**bold` is bold before its end has come. */
function repaired(block: Block): Block {
  const { raw, type } = block.token;
  if (type === 'code' || type === 'mathBlock') return block;
  const text = completed(raw);
  if (text === raw) return block;
  const token = lex(text).find((token) => token.type !== 'space');
  return token ? { ...block, token } : block;
}
