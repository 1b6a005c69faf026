// Turns files of this machine into files of the chat on the server, and those into pages of text.
import { ApiFailure, key, readFailure, request } from './client';

/** A file that was added to a chat: the server has its text. */
export interface ChatFile {
  id: string;
  name: string;
  kind: 'text' | 'code' | 'markdown' | 'csv' | 'pdf' | 'docx';
  language: string | null;
  bytes: number;
  /** Null where it has none. */
  pages: number | null;
  tokens: number;
}

/** A passage of a large file that an answer was made with. */
export interface Passage {
  file: string;
  name: string;
  page: number | null;
  text: string;
  score: number;
}

/** Bytes that a file may have; null where none can be added. */
export async function limit(): Promise<number | null> {
  const response = await request('/app/features', {});
  const features = (await response.json()) as { files?: boolean; file_bytes_max?: number };
  return features.files ? (features.file_bytes_max ?? null) : null;
}

/** Sends a file, and tells the share of it that is there. Aborting the signal ends it. */
export function send(
  file: File,
  signal: AbortSignal,
  sent: (share: number) => void,
): Promise<ChatFile> {
  return new Promise((resolve, reject) => {
    // fetch does not tell how much of a body has gone.
    const exchange = new XMLHttpRequest();
    exchange.open('POST', '/app/files');
    if (key.read()) exchange.setRequestHeader('authorization', `Bearer ${key.read()}`);
    exchange.upload.onprogress = ({ loaded, total }) => sent(total ? loaded / total : 0);
    exchange.onload = () => {
      const { status, statusText, responseText } = exchange;
      if (status === 200) resolve(JSON.parse(responseText) as ChatFile);
      else void readFailure(new Response(responseText, { status, statusText })).then(reject);
    };
    exchange.onerror = () => reject(new ApiFailure('unreachable', ''));
    exchange.onabort = () => reject(new ApiFailure('broken', ''));
    signal.addEventListener('abort', () => exchange.abort(), { once: true });
    const form = new FormData();
    form.append('file', file, file.name);
    exchange.send(form);
  });
}

export async function remove(id: string): Promise<void> {
  await request(`/app/files/${encodeURIComponent(id)}`, { method: 'DELETE' });
}

/** One page of what a model reads of a file; they are numbered from 1. */
export async function page(id: string, number: number): Promise<{ text: string; pages: number }> {
  const response = await request(`/app/files/${encodeURIComponent(id)}/text?page=${number}`, {});
  return (await response.json()) as { text: string; pages: number };
}
