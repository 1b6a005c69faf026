// Turns an answer's measures into its speed.
import type { Measures } from '../store/types';

/** Tokens per second after the first: the wait for that one is a measure of its own. */
export function speedOf({ completionTokens, firstTokenMs, totalMs }: Measures): number | null {
  if (
    completionTokens === null ||
    completionTokens < 2 ||
    firstTokenMs === null ||
    totalMs === null
  )
    return null;
  const seconds = (totalMs - firstTokenMs) / 1000;
  return seconds > 0 ? (completionTokens - 1) / seconds : null;
}
