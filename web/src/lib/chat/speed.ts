// Turns an answer's measures into its speed.
import type { Measures } from '../store/types';

/** In less time than this all tokens came at once: that is no speed. */
const SPAN_MS = 20;

/** Tokens per second after the first: the wait for that one is a measure of its own. */
export function speedOf({ completionTokens, firstTokenMs, totalMs }: Measures): number | null {
  if (
    completionTokens === null ||
    completionTokens < 2 ||
    firstTokenMs === null ||
    totalMs === null
  )
    return null;
  const span = totalMs - firstTokenMs;
  return span >= SPAN_MS ? ((completionTokens - 1) * 1000) / span : null;
}
