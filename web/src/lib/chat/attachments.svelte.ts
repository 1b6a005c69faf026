// Turns files that a person drops, pastes or chooses into files of the next message, with what becomes of each.
import { failureOf, type ApiFailure } from '../api/client';
import { limit, remove, send, type ChatFile } from '../api/files';
import { freshId } from '../id';

/** As many as the server takes with one message. */
export const FILES_MAX = 16;

/** A file of the next message: on its way, there, or refused. */
export interface Attachment {
  key: string;
  name: string;
  bytes: number;
  /** The share that has been sent; null: the server reads it, or is done. */
  sent: number | null;
  file: ChatFile | null;
  failure: ApiFailure | 'tooLarge' | 'tooMany' | null;
  abort: AbortController;
}

export class Attachments {
  list = $state<Attachment[]>([]);

  /** Those that are there. */
  readonly files = $derived(this.list.flatMap(({ file }) => file ?? []));
  readonly busy = $derived(this.list.some(({ file, failure }) => !file && !failure));

  add(files: Iterable<File>): void {
    for (const file of files) void this.#send(file);
  }

  async #send(file: File): Promise<void> {
    const tooMany = this.list.filter(({ failure }) => !failure).length >= FILES_MAX;
    const tooLarge = offered.bytesMax !== null && file.size > offered.bytesMax;
    this.list.push({
      key: freshId(),
      name: file.name,
      bytes: file.size,
      sent: 0,
      file: null,
      failure: tooLarge ? 'tooLarge' : tooMany ? 'tooMany' : null,
      abort: new AbortController(),
    });
    const attachment = this.list.at(-1);
    if (!attachment || attachment.failure) return;
    try {
      const { signal } = attachment.abort;
      attachment.file = await send(file, signal, (share) => {
        attachment.sent = share < 1 ? share : null;
      });
    } catch (error) {
      if (!attachment.abort.signal.aborted) attachment.failure = failureOf(error);
    }
    attachment.sent = null;
  }

  /** Takes one away; what the server has of it goes too. */
  drop(attachment: Attachment): void {
    attachment.abort.abort();
    this.list = this.list.filter(({ key }) => key !== attachment.key);
    // It would go by itself in a day.
    if (attachment.file) remove(attachment.file.id).catch(() => {});
  }

  /** The files that are there, for a message that is sent; the list is empty then. */
  taken(): ChatFile[] {
    const files = $state.snapshot(this.files);
    this.list = [];
    return files;
  }
}

/** What this server takes. */
class Offered {
  /** Null: no files at all. */
  bytesMax = $state<number | null>(null);

  async learn(): Promise<void> {
    this.bytesMax = await limit().catch(() => null);
  }
}

export const offered = new Offered();

/** What has been added and not sent, by conversation: it is still there on the way back. */
const kept = new Map<string, Attachments>();

export function attachmentsOf(conversation: string): Attachments {
  const known = kept.get(conversation) ?? new Attachments();
  kept.set(conversation, known);
  return known;
}
