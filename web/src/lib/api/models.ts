// Turns what the console does with this server's own models and engines into requests.
import { request } from './client';

export type ModelState = 'cold' | 'loading' | 'ready' | 'unloading' | 'failed';

export interface OwnModel {
  id: string;
  names: string[];
  state: ModelState;
  /** How far it is loaded, from 0 to 1. */
  progress: number | null;
  error: string | null;
  /** Whether it stays loaded. */
  pinned: boolean;
  capabilities: string[];
  architecture: string;
  weights: string;
  parameters: number | null;
  file_bytes: number;
  memory_bytes: number;
  context: number | null;
  deletable: boolean;
}

export interface Download {
  source: string;
  file: string | null;
  state: 'running' | 'done' | 'cancelled' | 'failed';
  bytes: number;
  bytes_total: number | null;
  model: string | null;
  error: string | null;
}

export interface OwnModels {
  data: OwnModel[];
  /** Null: nothing is loaded besides what is there. */
  memory_bytes_max: number | null;
  memory_bytes: number;
  loads_on_request: boolean;
  pull: Download | null;
}

export interface LayerExperts {
  layer: number;
  count: number;
  busiest: { expert: number; share: number }[];
  imbalance: number;
}

export interface Engine {
  id: string;
  running: number;
  waiting: number;
  parallel: number | null;
  pages_used: number;
  pages_total: number;
  prefix_queries: number;
  prefix_hits: number;
  prompt_tokens_per_second: number;
  generation_tokens_per_second: number;
  guessed: number;
  guessed_right: number;
  experts: LayerExperts[];
}

async function ask<T>(method: string, path: string, body?: object): Promise<T> {
  const sent = body && {
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  };
  return (await (await request(path, { method, ...sent })).json()) as T;
}

const pathOf = (id: string): string => `/app/models/${encodeURIComponent(id)}`;

export const own = {
  list: () => ask<OwnModels>('GET', '/app/models'),
  load: (id: string) => ask<OwnModel>('POST', `${pathOf(id)}/load`),
  unload: (id: string) => ask<OwnModel>('POST', `${pathOf(id)}/unload`),
  remove: (id: string) => ask<object>('DELETE', pathOf(id)),
  pull: (source: string) => ask<Download>('POST', '/app/models/pull', { source }),
  cancelPull: () => ask<Download>('POST', '/app/models/pull/cancel'),
  engines: async () => (await ask<{ data: Engine[] }>('GET', '/app/engine')).data,
};
