// Turns the server's tools into a list, and a person's decision into one that the server knows.
import type { Call, Message } from '../store/types';
import { request } from './client';

export interface ToolCard {
  /** What a request calls it. */
  name: string;
  /** What its server calls it. */
  own: string;
  title: string | null;
  description: string;
  /** Why it cannot be called. */
  unavailable: string | null;
}

export interface ToolServer {
  /** Empty: the search. */
  name: string;
  /** Whether a person is asked before each call. */
  ask: boolean;
  /** Why its tools are not known. */
  failure: string | null;
  tools: ToolCard[];
}

export type Decision = 'once' | 'chat' | 'refuse';

/** Whether this server has any. */
export async function areThere(): Promise<boolean> {
  const features = (await (await request('/app/features', {})).json()) as { tools?: boolean };
  return features.tools === true;
}

export async function list(): Promise<ToolServer[]> {
  const { servers } = (await (await request('/app/tools', {})).json()) as {
    servers: ToolServer[];
  };
  return servers;
}

export async function decide(message: Message, call: Call, decision: Decision): Promise<void> {
  const path = `/app/chats/${message.conversation}/messages/${message.id}/calls/${call.id}`;
  const headers = { 'content-type': 'application/json' };
  await request(path, { method: 'POST', headers, body: JSON.stringify({ decision }) });
}
