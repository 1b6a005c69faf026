// Turns what people do with accounts into requests to the server's own API.
import { request } from './client';

export interface Person {
  id: string;
  name: string;
  display_name: string;
  role: 'admin' | 'user';
  state: 'active' | 'disabled';
  has_password: boolean;
  has_identity: boolean;
  last_seen_at: number | null;
}

export interface Session {
  /** `single`: whoever is on the machine; `key`: an API key is asked for; `account`: an account. */
  mode: 'single' | 'key' | 'account';
  user: Person | null;
  role: 'admin' | 'user' | null;
  /** Whether the first account may be made from here. */
  setup: boolean;
  /** How an account is signed in to. */
  methods: ('password' | 'oidc')[];
  /** Who else may say who somebody is. */
  oidc: { name: string; signup: boolean } | null;
  limits: { password_min: number; password_max: number; name_max: number };
}

export interface ApiKey {
  id: string;
  name: string;
  /** Whose documents it reaches. */
  owner: string;
  prefix: string;
  created_at: number;
  expires_at: number | null;
  revoked_at: number | null;
}

interface List<T> {
  data: T[];
}

async function ask<T>(method: string, path: string, body?: object): Promise<T> {
  const sent = body && {
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  };
  return (await (await request(path, { method, ...sent })).json()) as T;
}

export const people = {
  session: () => ask<Session>('GET', '/app/session'),
  signIn: (name: string, password: string) =>
    ask<Session>('POST', '/app/session', { name, password }),
  signOut: () => ask<Session>('DELETE', '/app/session'),
  setUp: (name: string, password: string) => ask<Session>('POST', '/app/setup', { name, password }),
  accept: (token: string, name: string, password: string) =>
    ask<Session>('POST', '/app/invitations/accept', { token, name: name || null, password }),
  /** Says where the issuer is; the cookie that brings one back comes along. */
  setOut: (what: { invitation?: string; link?: boolean }) =>
    ask<{ url: string }>('POST', '/app/oidc', what),
  unlink: () => ask<object>('DELETE', '/app/oidc/link'),
  changePassword: (old_password: string, new_password: string) =>
    ask<Session>('POST', '/app/password', { old_password, new_password }),
  keys: async () => (await ask<List<ApiKey>>('GET', '/app/keys')).data,
  allKeys: async () => (await ask<List<ApiKey>>('GET', '/app/keys?all=true')).data,
  createKey: (name: string) => ask<ApiKey & { key: string }>('POST', '/app/keys', { name }),
  revokeKey: (id: string) => ask<object>('DELETE', `/app/keys/${id}`),
  users: async () => (await ask<List<Person>>('GET', '/app/users')).data,
  change: (id: string, change: { role?: string; state?: string; reset_password?: true }) =>
    ask<Person & { token: string | null }>('POST', `/app/users/${id}`, change),
  remove: (id: string) => ask<object>('DELETE', `/app/users/${id}`),
  invite: (role: string) => ask<{ token: string }>('POST', '/app/invitations', { role }),
};

/** The address that an invitation is sent as: what opens stands where no server sees it. */
export function linkOf(way: 'invite' | 'renew', token: string): string {
  return `${location.origin}/#/${way}/${token}`;
}
