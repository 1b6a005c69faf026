// Turns a block that was read anew into one whose unchanged parts are the same objects: they are not rendered again.
import type { Tokens } from 'marked';
import type { AnyToken } from './parse';
import type { Block } from './sections.svelte';

/** The block, with those parts of what stood at its place before that have not changed. */
export function kept(before: Block[], now: Block): Block {
  const old = before.find(({ start }) => start === now.start)?.token;
  if (old?.type === now.token.type) settle(old, now.token);
  return now;
}

function settle(old: AnyToken, token: AnyToken): void {
  if (token.type === 'list') {
    const [list, earlier] = [token as Tokens.List, old as Tokens.List];
    list.items = list.items.map((item, at) => {
      const same = earlier.items[at];
      return same?.raw === item.raw && same.loose === item.loose ? same : item;
    });
  } else if (token.type === 'table') {
    const [table, earlier] = [token as Tokens.Table, old as Tokens.Table];
    table.rows = table.rows.map((row, at) => {
      const same = earlier.rows[at];
      return same?.every(({ text }, index) => text === row[index]?.text) ? same : row;
    });
  } else if (token.type === 'blockquote') {
    const [quote, earlier] = [token as Tokens.Blockquote, old as Tokens.Blockquote];
    quote.tokens = quote.tokens.map((child, at) => {
      const same = earlier.tokens[at];
      return same?.raw === child.raw && same.type === child.type ? same : child;
    });
  }
}
