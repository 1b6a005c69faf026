// Turns a request into an answer that grows in a message, at most once per frame of the screen.
import { failureOf, stream, type ChatRequest, type ChatTurn, type Piece } from '../api/client';
import type { Measures, Message, Settings } from '../store/types';
import { turnsOf } from './calls';

/** What a page that nobody sees waits, as it has no frames. */
const HIDDEN_MS = 250;

/** The request that asks for the answer after this path. */
export function requestFor(
  model: string,
  settings: Settings,
  path: Message[],
  seed: number | null,
  reasons: boolean,
): ChatRequest {
  const turns = path.flatMap(turnsOf);
  const system = settings.system.trim();
  const first: ChatTurn[] = system ? [{ role: 'system', content: system }] : [];
  return {
    model,
    messages: [...first, ...turns],
    ...(seed === null ? {} : { seed }),
    ...(settings.temperature === null ? {} : { temperature: settings.temperature }),
    ...(settings.topP === null ? {} : { top_p: settings.topP }),
    ...(settings.maxTokens === null ? {} : { max_tokens: settings.maxTokens }),
    ...(reasons ? thinkingOf(settings) : {}),
  };
}

/** What a request says of reasoning; a model that does not reason would refuse it. */
function thinkingOf({
  thinking,
}: Settings): Pick<ChatRequest, 'enable_thinking' | 'thinking_budget'> {
  if (thinking == null) return {};
  return thinking === 0 ? { enable_thinking: false } : { thinking_budget: thinking };
}

export function noMeasures(): Measures {
  return {
    promptTokens: null,
    cachedTokens: null,
    completionTokens: null,
    firstTokenMs: null,
    thinkingMs: null,
    totalMs: null,
  };
}

/** Fills the message until its answer is whole, stopped or failed; never throws. */
export async function fill(
  message: Message,
  request: ChatRequest,
  abort: AbortController,
): Promise<void> {
  const started = performance.now();
  const measures = noMeasures();
  const screen = new Screen(message);
  let finish = '';
  let thought = false;
  try {
    for await (const piece of stream(request, abort.signal)) {
      thought ||= piece.reasoning !== undefined;
      measure(measures, piece, performance.now() - started, thought);
      // Thoughts have ended: their seconds are shown while the answer comes.
      if (measures.thinkingMs !== null && message.measures === null)
        message.measures = { ...measures };
      screen.add(piece);
      if (piece.finish) finish = piece.finish;
    }
    message.status = finish === 'length' ? 'length' : 'done';
  } catch (error) {
    if (abort.signal.aborted) {
      message.status = 'stopped';
    } else {
      const failure = failureOf(error);
      message.status = 'failed';
      message.failure = { kind: failure.kind, message: failure.message, code: failure.code };
    }
  } finally {
    screen.flush();
  }
  measures.totalMs = performance.now() - started;
  if (thought && !message.content) {
    measures.thinkingMs ??= measures.totalMs - (measures.firstTokenMs ?? measures.totalMs);
  }
  message.measures = measures;
}

/** Notes times as pieces come. Thoughts count from the first token to the answer's first. */
function measure(measures: Measures, piece: Piece, now: number, thought: boolean): void {
  if (piece.content || piece.reasoning) measures.firstTokenMs ??= now;
  if (piece.content && thought) measures.thinkingMs ??= now - (measures.firstTokenMs ?? now);
  if (piece.usage) {
    measures.promptTokens = piece.usage.prompt_tokens;
    measures.completionTokens = piece.usage.completion_tokens;
    measures.cachedTokens = piece.usage.prompt_tokens_details?.cached_tokens ?? null;
  }
}

/** Collects pieces and shows them together: rendering each token would cost more than making it. */
export class Screen {
  #message: Message;
  #content = '';
  #reasoning = '';
  #cancel: (() => void) | null = null;

  constructor(message: Message) {
    this.#message = message;
  }

  add(piece: Piece): void {
    this.#content += piece.content ?? '';
    this.#reasoning += piece.reasoning ?? '';
    if (this.#cancel || !(this.#content || this.#reasoning)) return;
    if (document.visibilityState === 'hidden') {
      const timer = setTimeout(() => this.flush(), HIDDEN_MS);
      this.#cancel = () => clearTimeout(timer);
    } else {
      const frame = requestAnimationFrame(() => this.flush());
      // A page that is hidden now gets no frame: the timer stands in for it.
      const timer = setTimeout(() => this.flush(), HIDDEN_MS);
      this.#cancel = () => {
        cancelAnimationFrame(frame);
        clearTimeout(timer);
      };
    }
  }

  flush(): void {
    this.#cancel?.();
    this.#cancel = null;
    if (this.#content) this.#message.content += this.#content;
    if (this.#reasoning) this.#message.reasoning += this.#reasoning;
    this.#content = '';
    this.#reasoning = '';
  }
}
