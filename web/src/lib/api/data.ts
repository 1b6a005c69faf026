// Turns what is kept and used on the server into requests: what there is, a file of it, and its end.
import { request } from './client';

/** What people delete together, in the order in which the server tells it. */
export type Sort =
  | 'chats'
  | 'library'
  | 'votes'
  | 'files'
  | 'responses'
  | 'conversations'
  | 'completions'
  | 'batches';

export interface Kept {
  owner: string;
  /** The account's name, where it is one. */
  name: string | null;
  keys: number;
  sorts: { sort: Sort; count: number; bytes: number }[];
}

export interface Used {
  /** A day (`2026-11-27`), an owner, a key's id (empty for none) or a model. */
  name: string;
  label: string | null;
  requests: number;
  prompt_tokens: number;
  cached_tokens: number;
  generated_tokens: number;
}

export interface Usage {
  from: string;
  to: string;
  days: Used[];
  owners: Used[];
  keys: Used[];
  models: Used[];
}

const get = async <T>(path: string): Promise<T> => (await (await request(path, {})).json()) as T;
const text = async (path: string): Promise<string> => (await request(path, {})).text();

export const data = {
  kept: async (all: boolean) => (await get<{ data: Kept[] }>(`/app/data?all=${all}`)).data,
  /** Deletes all of a sort, or what was not changed for so many days. */
  remove: async (sort: Sort, owner: string, days: number | null): Promise<number> => {
    const query = new URLSearchParams({ owner });
    if (days !== null) query.set('older_than_days', String(days));
    const answer = await request(`/app/data/${sort}?${query}`, { method: 'DELETE' });
    return ((await answer.json()) as { deleted: number }).deleted;
  },
  exported: () => text('/app/data/export'),
  usage: (days: number, all: boolean) => get<Usage>(`/app/usage?days=${days}&all=${all}`),
  usageRows: (days: number, all: boolean) => text(`/app/usage/export?days=${days}&all=${all}`),
};
