// Turns an answer into its tokens with their probabilities, by drawing it once more with the same seed.
//
// The server gives the same tokens for the same request and seed, so nothing has to be kept for answers whose
// tokens nobody asks for.
import { stream, type ChatRequest, type ScoredToken } from '../api/client';

/** Alternatives that are asked for at each token. */
const ALTERNATIVES = 6;

export interface Choice {
  text: string;
  share: number;
}

/** One or more tokens that make whole characters, as a person can click them. */
export interface ShownToken {
  text: string;
  share: number;
  others: Choice[];
}

export interface Drawn {
  tokens: ShownToken[];
  text: string;
}

export async function drawn(
  request: ChatRequest,
  signal: AbortSignal,
  completionTokens: number | null,
): Promise<Drawn> {
  const scored: ScoredToken[] = [];
  let text = '';
  const again: ChatRequest = { ...request, top_logprobs: ALTERNATIVES };
  // A stopped answer ends where it was stopped.
  if (completionTokens !== null) again.max_tokens = completionTokens;
  for await (const piece of stream(again, signal)) {
    scored.push(...(piece.tokens ?? []));
    text += piece.content ?? '';
  }
  return { tokens: shown(scored), text };
}

/** A character of several bytes can be cut into several tokens: those are shown as one. */
export function shown(scored: ScoredToken[]): ShownToken[] {
  const tokens: ShownToken[] = [];
  let decoder = new TextDecoder('utf-8', { fatal: true });
  let share = 1;
  let first: ScoredToken | null = null;
  for (const token of scored) {
    first ??= token;
    share *= Math.exp(token.logprob);
    let text: string;
    try {
      text = token.bytes
        ? decoder.decode(Uint8Array.from(token.bytes), { stream: true })
        : token.token;
    } catch {
      decoder = new TextDecoder('utf-8', { fatal: true });
      text = token.token;
    }
    if (text === '') continue;
    const others = first.top_logprobs
      .filter((other) => other.token !== first?.token)
      .map((other) => ({ text: other.token, share: Math.exp(other.logprob) }))
      .sort((a, b) => b.share - a.share);
    tokens.push({ text, share, others });
    share = 1;
    first = null;
  }
  return tokens;
}
