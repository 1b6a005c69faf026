// Turns the events of an answer that the server makes into a message that grows, through lost connections.
import { SvelteMap } from 'svelte/reactivity';
import { failureOf, type ApiFailure, type ChatRequest } from '../api/client';
import * as runs from '../api/runs';
import type { Call, Message } from '../store/types';
import { noMeasures, Screen } from './answer';

/** How far the reading of large files is, by the message that waits for it. */
export const reading = new SvelteMap<string, { done: number; total: number }>();

/** Waits between two tries to take an answer up again; after the last one the page gives up. */
const PATIENCE_MS = [250, 500, 1000, 2000, 4000, 8000, 8000, 16000, 16000];

/**
 * Fills the message until its answer is whole, stopped or failed; never throws. The signal stops the
 * answer on the server. Without a request the answer is on its way already. A title may come later.
 */
export function followAnswer(
  message: Message,
  request: ChatRequest | null,
  stop: AbortSignal,
  titled: (title: string) => void,
): Promise<void> {
  return new Promise((ended) => {
    const follower = new Follower(message, titled, ended);
    const stopped = () => void follower.stop();
    if (stop.aborted) stopped();
    else stop.addEventListener('abort', stopped, { once: true });
    void follower.follow(request);
  });
}

class Follower {
  readonly #message: Message;
  readonly #titled: (title: string) => void;
  readonly #ended: () => void;
  readonly #screen: Screen;
  #last = -1;
  #over = false;
  #started = performance.now();
  #firstToken: number | null = null;

  constructor(message: Message, titled: (title: string) => void, ended: () => void) {
    this.#message = message;
    this.#titled = titled;
    this.#ended = ended;
    this.#screen = new Screen(message);
  }

  async follow(request: ChatRequest | null): Promise<void> {
    for (let tries = 0; ; tries += 1) {
      const before = this.#last;
      try {
        const again = request === null || this.#last >= 0;
        const events = again
          ? runs.follow(this.#message, this.#last)
          : runs.begin(this.#message, request);
        for await (const event of events) this.#take(event);
        return;
      } catch (error) {
        if (this.#over) return;
        const failure = failureOf(error);
        if (this.#last > before) tries = 0;
        const wait = PATIENCE_MS[tries];
        const lost = failure.kind === 'unreachable' || failure.kind === 'broken';
        if (!lost || wait === undefined) return this.#fail(failure);
        await new Promise((resolve) => setTimeout(resolve, wait));
      }
    }
  }

  async stop(): Promise<void> {
    try {
      this.#end(await runs.stop(this.#message));
    } catch (error) {
      this.#fail(failureOf(error));
    }
  }

  #take(event: runs.RunEvent): void {
    if (this.#last < 0 && !event.message) {
      // What was kept of it comes again from the beginning.
      this.#message.content = '';
      this.#message.reasoning = '';
      this.#message.calls = [];
    }
    this.#last += 1;
    if (event.title !== undefined) this.#titled(event.title);
    if (event.message) this.#end(event.message);
    if (event.reading) reading.set(this.#message.id, event.reading);
    if (event.sources) this.#message.sources = event.sources;
    if (event.reading || event.sources) return;
    reading.delete(this.#message.id);
    if (this.#over) return;
    if (event.call) this.#called(event.call);
    const now = performance.now() - this.#started;
    this.#firstToken ??= now;
    const thought = this.#message.reasoning !== '';
    if (event.content && thought && this.#message.measures === null) {
      // Thoughts have ended: their seconds are shown while the answer comes.
      this.#message.measures = { ...noMeasures(), thinkingMs: now - this.#firstToken };
    }
    this.#screen.add(event);
  }

  #called(call: Call): void {
    // What was said before it stands before it.
    this.#screen.flush();
    const calls = this.#message.calls ?? [];
    const known = calls.some(({ id }) => id === call.id);
    this.#message.calls = known
      ? calls.map((other) => (other.id === call.id ? call : other))
      : [...calls, call];
  }

  #end(message: Message): void {
    if (this.#over) return;
    this.#over = true;
    this.#screen.flush();
    Object.assign(this.#message, { calls: [] }, message);
    // It was on its way, but the server that made it is not this one, or gone.
    if (message.status === 'streaming') this.#message.status = 'stopped';
    this.#ended();
  }

  #fail(failure: ApiFailure): void {
    const { kind, message, code } = failure;
    this.#end({
      ...this.#message,
      status: 'failed',
      failure: { kind, message, code },
    });
  }
}
