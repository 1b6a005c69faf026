// Turns conversations into links that show a copy of them, and such a link into what it shows.
import { ApiFailure, request } from './client';

export interface Share {
  token: string;
  created: number;
}

export interface Shared {
  title: string;
  created: number;
  messages: { role: 'user' | 'assistant'; content: string; model: string | null }[];
}

const pathOf = (conversation: string): string => `/app/chats/${conversation}/share`;

/** The link's address for people. */
export const addressOf = (share: Share): string =>
  `${location.origin}${location.pathname}#/s/${share.token}`;

/** The link to a conversation; null where there is none. */
export async function readShare(conversation: string): Promise<Share | null> {
  const response = await request(pathOf(conversation), {});
  const share = (await response.json()) as Share | { token: null };
  return share.token === null ? null : share;
}

/** Makes a link, or copies the conversation anew under the one that there is. */
export async function makeShare(conversation: string): Promise<Share> {
  return (await request(pathOf(conversation), { method: 'POST' })).json() as Promise<Share>;
}

export async function endShare(conversation: string): Promise<void> {
  await request(pathOf(conversation), { method: 'DELETE' });
}

/** What a link shows; null where it was taken back. */
export async function openShare(token: string): Promise<Shared | null> {
  try {
    return await ((await request(`/app/shared/${token}`, {})).json() as Promise<Shared>);
  } catch (error) {
    if (error instanceof ApiFailure && error.code === 'not_found') return null;
    throw error;
  }
}
