// Keeps which answer of a comparison was better, on the server or, where that keeps nothing, in this browser.
import { ApiFailure, request } from '../api/client';

export type Outcome = 'better' | 'tie' | 'bad';

export interface Vote {
  comparison: string;
  models: string[];
  outcome: Outcome;
  best: string | null;
}

export interface RatedModel {
  model: string;
  comparisons: number;
  wins: number;
  ties: number;
  losses: number;
  bad: number;
  rating: number;
  /** Half of the 95 % interval. */
  error: number;
  few: boolean;
}

export interface Leaderboard {
  votes: number;
  models: RatedModel[];
}

const KEY = 'myriad.votes';
/** Some 300 kB: browsers keep 5 MB. */
const VOTES_MAX = 2000;

/** What a server says that keeps nothing of requests. */
const KEEPS_NOTHING = 'unsupported_parameter';

export async function cast(vote: Vote): Promise<void> {
  try {
    await post('/app/votes', vote);
  } catch (error) {
    if (!keepsNothing(error)) throw error;
    localStorage.setItem(KEY, JSON.stringify(withVote(kept(), vote)));
  }
}

export async function leaderboard(): Promise<Leaderboard> {
  try {
    return (await (await request('/app/leaderboard', {})).json()) as Leaderboard;
  } catch (error) {
    if (!keepsNothing(error)) throw error;
    return (await (await post('/app/leaderboard', { votes: kept() })).json()) as Leaderboard;
  }
}

/** A second vote on a comparison takes the place of the first. */
export function withVote(votes: Vote[], vote: Vote): Vote[] {
  const others = votes.filter(({ comparison }) => comparison !== vote.comparison);
  return [...others, vote].slice(-VOTES_MAX);
}

function post(path: string, body: unknown): Promise<Response> {
  const headers = { 'content-type': 'application/json' };
  return request(path, { method: 'POST', headers, body: JSON.stringify(body) });
}

function keepsNothing(error: unknown): boolean {
  return error instanceof ApiFailure && error.code === KEEPS_NOTHING;
}

function kept(): Vote[] {
  try {
    const votes: unknown = JSON.parse(localStorage.getItem(KEY) ?? '[]');
    return Array.isArray(votes) ? (votes as Vote[]) : [];
  } catch {
    return [];
  }
}
