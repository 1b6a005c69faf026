// Turns a conversation's path into requests to the server's OpenAI-compatible API, and its stream into pieces.
import { events } from './sse';

/** A model that the server offers. */
export interface Model {
  id: string;
  /** Tokens of prompt and answer together, where the server says. */
  context: number | null;
  /** Null: this server computes it. Otherwise the name of the other server that does. */
  upstream: string | null;
}

export interface ChatTurn {
  role: 'system' | 'user' | 'assistant' | 'tool';
  content: string;
  /** Ids of files that the server puts before the content. */
  files?: string[];
  tool_calls?: {
    id: string;
    type: 'function';
    function: { name: string; arguments: string };
  }[];
  /** Of a tool: which call it answers. */
  tool_call_id?: string;
}

/** What a request may set; what is absent is the server's default. */
export interface Sampling {
  temperature?: number;
  top_p?: number;
  max_tokens?: number;
  seed?: number;
}

export interface ChatRequest extends Sampling {
  model: string;
  messages: ChatTurn[];
  enable_thinking?: boolean;
  /** Tokens of reasoning. */
  thinking_budget?: number;
  /** The tools that the server may call for the model, where it makes the answer. */
  app_tools?: string[];
  /** How many alternatives to ask for at each token; absent: no log-probabilities. */
  top_logprobs?: number;
}

/** A token with its log-probability. */
export interface TokenProbability {
  token: string;
  logprob: number;
  bytes: number[] | null;
}

export interface ScoredToken extends TokenProbability {
  top_logprobs: TokenProbability[];
}

export interface Usage {
  prompt_tokens: number;
  completion_tokens: number;
  prompt_tokens_details?: { cached_tokens?: number } | null;
}

/** A piece of an answer, as it comes. */
export interface Piece {
  content?: string;
  reasoning?: string;
  tokens?: ScoredToken[];
  finish?: string;
  usage?: Usage;
}

/** What went wrong, told apart by what a person can do about it. */
export type FailureKind = 'unreachable' | 'unauthorized' | 'refused' | 'server' | 'broken';

export class ApiFailure extends Error {
  constructor(
    readonly kind: FailureKind,
    message: string,
    readonly code: string | null = null,
  ) {
    super(message);
  }
}

/** Whatever was thrown, as a failure. */
export const failureOf = (error: unknown): ApiFailure =>
  error instanceof ApiFailure ? error : new ApiFailure('broken', String(error));

const KEY = 'myriad.key';

/** The API key of this browser, for servers that ask for one. */
export const key = {
  read: (): string => localStorage.getItem(KEY) ?? '',
  write: (value: string): void => {
    if (value) localStorage.setItem(KEY, value);
    else localStorage.removeItem(KEY);
  },
};

/** The models on offer. */
export async function models(signal?: AbortSignal): Promise<Model[]> {
  const response = await request('/v1/models', signal ? { signal } : {});
  const list = (await response.json()) as {
    data: { id: string; max_model_len?: number; owned_by?: string; capabilities?: string[] }[];
  };
  // What makes vectors alone answers nobody.
  const answers = list.data.filter(({ capabilities }) => capabilities?.[0] !== 'embedding');
  return answers.map(({ id, max_model_len, owned_by }) => ({
    id,
    context: max_model_len ?? null,
    upstream: owned_by === undefined || owned_by === 'myriad' ? null : owned_by,
  }));
}

/** Whether a model reasons, as Ollama's API says it. */
export async function reasons(model: string): Promise<boolean> {
  const response = await request('/api/show', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model }),
  });
  const { capabilities } = (await response.json()) as { capabilities?: unknown };
  return Array.isArray(capabilities) && capabilities.includes('thinking');
}

/** Streams an answer. Aborting the signal ends the work on the server. */
export async function* stream(chat: ChatRequest, signal: AbortSignal): AsyncGenerator<Piece> {
  const body = {
    ...chat,
    // Files are the chat's own: where the page asks by itself, they are names alone.
    messages: chat.messages.map(({ role, content }) => ({ role, content })),
    ...(chat.top_logprobs === undefined ? {} : { logprobs: true }),
    stream: true,
    stream_options: { include_usage: true },
  };
  const response = await request('/v1/chat/completions', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
    signal,
  });
  if (!response.body) throw new ApiFailure('broken', '');
  let whole = false;
  try {
    for await (const data of events(response.body)) {
      if (data.startsWith('[DONE]')) {
        whole = true;
        break;
      }
      yield pieceOf(data);
    }
  } catch (error) {
    if (error instanceof ApiFailure || signal.aborted) throw error;
    throw new ApiFailure('broken', '');
  }
  if (!whole) throw new ApiFailure('broken', '');
}

/** The part of a chunk that matters here. */
export function pieceOf(data: string): Piece {
  let chunk: Chunk;
  try {
    chunk = JSON.parse(data) as Chunk;
  } catch {
    throw new ApiFailure('broken', '');
  }
  if (chunk.error) {
    throw new ApiFailure('server', chunk.error.message ?? '', chunk.error.code ?? null);
  }
  const piece: Piece = {};
  const choice = chunk.choices?.[0];
  const reasoning = choice?.delta?.reasoning_content ?? choice?.delta?.reasoning;
  if (choice?.delta?.content) piece.content = choice.delta.content;
  if (reasoning) piece.reasoning = reasoning;
  if (choice?.logprobs?.content?.length) piece.tokens = choice.logprobs.content;
  if (choice?.finish_reason) piece.finish = choice.finish_reason;
  if (chunk.usage) piece.usage = chunk.usage;
  return piece;
}

interface Chunk {
  error?: { message?: string; code?: string | null };
  choices?: {
    delta?: {
      content?: string | null;
      reasoning_content?: string | null;
      reasoning?: string | null;
    };
    logprobs?: { content?: ScoredToken[] | null } | null;
    finish_reason?: string | null;
  }[];
  usage?: Usage | null;
}

let refused: () => void = () => {};

/** What is done where the server lets nobody in. */
export function onUnauthorized(act: () => void): void {
  refused = act;
}

/** A request with the key of this browser; what is no success is an `ApiFailure`. */
export async function request(path: string, init: RequestInit): Promise<Response> {
  const headers = new Headers(init.headers);
  if (key.read()) headers.set('authorization', `Bearer ${key.read()}`);
  let response: Response;
  try {
    response = await fetch(path, { ...init, headers });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new ApiFailure('unreachable', '');
  }
  if (response.ok) return response;
  throw await readFailure(response);
}

/** OpenAI's error shape, or whatever a proxy in front says instead. */
export async function readFailure(response: Response): Promise<ApiFailure> {
  const text = await response.text().catch(() => '');
  let message = text.slice(0, 400) || `${response.status} ${response.statusText}`;
  let code: string | null = null;
  try {
    const { error } = JSON.parse(text) as { error: { message: string; code: string | null } };
    message = error.message;
    code = error.code;
  } catch {
    // Not JSON: the text itself is what there is to show.
  }
  // A wrong password is told where it was entered.
  if (response.status === 401 && code !== 'invalid_credentials') {
    refused();
    return new ApiFailure('unauthorized', message, code);
  }
  return new ApiFailure(response.status < 500 ? 'refused' : 'server', message, code);
}
