// Turns the unfinished end of a Markdown block into a finished one: open marks are closed.

/** Closes what the last paragraph of a block has left open. */
export function completed(block: string): string {
  // An open fence inside a list or quotation: everything after it is code, which needs no end.
  if ((block.match(/^[\s>*+\-\d.]*(?:```|~~~)/gm)?.length ?? 0) % 2 === 1) return block;
  const cut = block.lastIndexOf('\n\n') + 1;
  const before = block.slice(0, cut);
  let text = block.slice(cut);
  // A formula that has begun is not yet a formula: show nothing of it.
  for (const [open, close] of [
    ['$$', '$$'],
    ['\\[', '\\]'],
    ['\\(', '\\)'],
  ] as const) {
    const at = text.lastIndexOf(open);
    const opened =
      open === close ? text.split(open).length % 2 === 0 : at > text.lastIndexOf(close);
    if (opened) text = text.slice(0, at);
  }
  // Marks inside code are text: look at what is left without it.
  const ticks = text.match(/`/g)?.length ?? 0;
  if (ticks % 2 === 1 && !text.includes('``')) return `${before}${text.trimEnd()}\``;
  // `[text](https://exa`: the address is on its way.
  text = text.replace(/!?\[([^[\]\n]*)\]\([^()\s]*$/, '$1').replace(/!?\[([^[\]\n]*)$/, '$1');
  const outside = text.replace(/`[^`]*`/g, '');
  const strong = (outside.match(/\*\*/g)?.length ?? 0) % 2 === 1;
  const struck = (outside.match(/~~/g)?.length ?? 0) % 2 === 1;
  // A mark that stands alone at the end has nothing to close yet.
  if (/(?:\*{1,3}|~~|_)$/.test(text) && (strong || struck || /(?:^|[\s(])[*_]$/.test(text))) {
    return before + text.replace(/[ \t]*(?:\*{1,3}|~~|_)$/, '');
  }
  const rest = outside.replace(/\*\*/g, '');
  const emphasis = /(?:^|[\s(])\*(?=[^\s*])[^*]*$/.test(rest);
  const end = `${emphasis ? '*' : ''}${strong ? '**' : ''}${struck ? '~~' : ''}`;
  return end ? `${before}${text.trimEnd()}${end}` : before + text;
}
