// Which artifact is shown beside the chat, and what gets the focus back when it closes.
import { untrack } from 'svelte';
import { chat } from '../chat/chat.svelte';
import { artifactsOf, versionsOf, type Artifact } from './find';

/** How often an artifact that is being written is shown anew. */
const RENEW_MS = 500;

interface Place {
  message: string;
  at: number;
}

class Panel {
  #place = $state.raw<Place | null>(null);
  #opener: HTMLElement | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** All artifacts of the shown path, as of the last look. */
  #all = $state.raw<Artifact[]>([]);

  readonly current = $derived(
    this.#all.find(
      ({ message, at }) => message === this.#place?.message && at === this.#place.at,
    ) ?? null,
  );
  readonly versions = $derived(this.current ? versionsOf(this.#all, this.current) : []);
  readonly index = $derived(this.current ? this.versions.indexOf(this.current) : -1);

  get isOpen(): boolean {
    return this.#place !== null;
  }

  /** Shows the fence of a message that has this text, or began with it. */
  open(message: string, text: string): void {
    this.#look();
    const own = this.#all.filter((artifact) => artifact.message === message);
    const found =
      own.find((artifact) => artifact.text === text) ??
      own.find((artifact) => artifact.text.startsWith(text));
    if (!found) return;
    this.#opener = document.activeElement as HTMLElement | null;
    this.#place = { message, at: found.at };
  }

  close(): void {
    this.#place = null;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#opener?.isConnected) this.#opener.focus();
    else document.getElementById('composer')?.focus();
    this.#opener = null;
  }

  step(by: number): void {
    const next = this.versions[this.index + by];
    if (next) this.#place = { message: next.message, at: next.at };
  }

  /** Called inside of an effect: looks again when the path changes, twice a second at most while it grows. */
  follow(): void {
    if (!this.isOpen) return;
    const path = chat.open?.path ?? [];
    const last = path.at(-1);
    void last?.content;
    const growing = last?.status === 'streaming';
    if (!growing) {
      clearTimeout(this.#timer);
      this.#timer = undefined;
      untrack(() => this.#renew());
    } else {
      this.#timer ??= setTimeout(() => {
        this.#timer = undefined;
        this.#renew();
      }, RENEW_MS);
    }
  }

  /** Looks again; who saw the latest version sees the one that has come. */
  #renew(): void {
    const before = this.current;
    const wasLatest = before !== null && this.index === this.versions.length - 1;
    this.#look();
    const now = this.current ?? before;
    if (!now) return;
    const versions = versionsOf(this.#all, now);
    const latest = versions.at(-1);
    if (!latest) this.close();
    else if (!this.current || (wasLatest && now.closed && latest !== this.current))
      this.#place = { message: latest.message, at: latest.at };
  }

  #look(): void {
    this.#all = (chat.open?.path ?? []).flatMap(artifactsOf);
  }
}

export const panel = new Panel();
