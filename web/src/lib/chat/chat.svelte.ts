// The chat: which conversations there are, which one is open, and what a person does with them.
import { SvelteMap } from 'svelte/reactivity';
import {
  failureOf,
  models,
  reasons,
  type ApiFailure,
  type ChatRequest,
  type Model,
} from '../api/client';
import type { ChatFile } from '../api/files';
import { i18n } from '../i18n/index.svelte';
import { freshId, freshSeed } from '../id';
import { preferences } from '../preferences.svelte';
import { shelf } from '../shelf.svelte';
import { chooseStore, declineToMove, leftInBrowser, moveToServer, store } from '../store';
import { defaultSettings, type Conversation, type Message, type Settings } from '../store/types';
import { fill, requestFor } from './answer';
import { offered } from './attachments.svelte';
import { followAnswer } from './follow';
import { shelf as library } from './library.svelte';
import { LiveConversation } from './conversation.svelte';
import { refreshed } from '../store/exchange';
import { namesIn, toolbox } from './toolbox.svelte';
import { comparedWith, leafBelow, pathTo, titleOf } from './tree';

/** How often an answer on its way is kept, so that a closed page loses little. */
const KEEP_MS = 2000;

class Chat {
  conversations = $state<Conversation[]>([]);
  /** Null: a new conversation, which exists from its first message on. */
  open = $state.raw<LiveConversation | null>(null);
  /** Whether the address names a conversation that is not here. */
  missing = $state(false);
  loading = $state(true);
  /** Whether the leaderboard is shown in place of the chat: `#/leaderboard`. */
  leaderboard = $state(false);
  models = $state.raw<Model[]>([]);
  modelsFailure = $state.raw<ApiFailure | null>(null);
  modelsLoaded = $state(false);
  /** Settings of the conversation that does not exist yet. */
  draft = $state<Settings>(defaultSettings());
  /** Said once to screen readers. */
  announcement = $state('');
  /** Why the last change could not be kept: the browser is full, or the server away. */
  storageFailure = $state<'browser' | 'server' | null>(null);
  /** Conversations that are in the browser and could be on the server. */
  movable = $state(0);
  /** Which models reason, as far as it was asked. */
  readonly #reasons = new SvelteMap<string, boolean>();
  readonly #asked = new Map<string, Promise<boolean>>();
  /** All that have been opened: answers go on while another conversation is shown. */
  readonly live = new SvelteMap<string, LiveConversation>();

  readonly settings = $derived(this.open?.about.settings ?? this.draft);
  readonly model = $derived(this.#chosen(this.open?.about.model ?? preferences.model));

  #chosen(wanted: string | null): Model | null {
    return this.models.find((model) => model.id === wanted) ?? this.models[0] ?? null;
  }

  async start(): Promise<void> {
    addEventListener('hashchange', () => void this.#follow());
    void this.loadModels();
    void offered.learn();
    await chooseStore();
    void library.refresh();
    void toolbox.look();
    await this.reload();
    await this.#follow();
    this.loading = false;
    if (!store.runs) return;
    addEventListener('focus', () => void this.refresh());
    this.movable = await leftInBrowser().catch(() => 0);
  }

  /** What other devices have changed meanwhile. */
  async refresh(): Promise<void> {
    await this.reload();
    const live = this.open;
    if (!live || live.running) return;
    const record = await this.#guarded(() => store.read(live.about.id));
    // Something was asked while it was read: that is newer.
    if (!record || live.running) return;
    live.about = record.conversation;
    // Equal messages stay the objects that they are: they are not rendered again.
    if (sameMessages(live.messages, record.messages)) return;
    live.messages = record.messages;
    this.#takeUp(live);
  }

  async move(): Promise<void> {
    const moved = await this.#guarded(async () => {
      await moveToServer();
      return true;
    });
    if (moved) this.movable = 0;
    void library.refresh();
    await this.reload();
    // There they have other names.
    if (this.missing) this.go(null);
  }

  stay(): void {
    declineToMove();
    this.movable = 0;
  }

  async reload(): Promise<void> {
    this.conversations = (await this.#guarded(() => store.list())) ?? this.conversations;
  }

  async loadModels(): Promise<void> {
    try {
      this.models = await models();
      // What loads first is said where a model is chosen.
      if (this.models.some(({ upstream }) => upstream === null)) void shelf.look();
      this.modelsFailure = null;
    } catch (error) {
      this.modelsFailure = failureOf(error);
    }
    this.modelsLoaded = true;
  }

  reasons(model: string): boolean {
    return this.#reasons.get(model) ?? false;
  }

  /** Asks once whether a model reasons; one of which nothing can be learnt does not. */
  async learn(model: string): Promise<boolean> {
    // Other servers say nothing of it.
    if (this.models.find(({ id }) => id === model)?.upstream) return false;
    const asked = this.#asked.get(model) ?? reasons(model).catch(() => false);
    this.#asked.set(model, asked);
    const found = await asked;
    // Of a model that is not loaded the server cannot say yet: it is asked again.
    const state = shelf.find(model)?.state;
    if (!found && state !== undefined && state !== 'ready') this.#asked.delete(model);
    this.#reasons.set(model, found);
    return found;
  }

  /** Shows what the address names: `#/c/ID`, or nothing for a new conversation. */
  async #follow(): Promise<void> {
    this.leaderboard = location.hash === '#/leaderboard';
    const id = /^#\/c\/([\w-]+)$/.exec(location.hash)?.[1] ?? null;
    if (id === null) {
      this.open = null;
      this.missing = false;
      return;
    }
    if (this.open?.about.id === id) return;
    const live = this.live.get(id) ?? (await this.#load(id));
    this.missing = live === null;
    this.open = live;
  }

  async #load(id: string): Promise<LiveConversation | null> {
    const record = await this.#guarded(() => store.read(id));
    if (!record) return null;
    const live = new LiveConversation(record.conversation, record.messages);
    this.live.set(id, live);
    this.#takeUp(live);
    return live;
  }

  /** Goes on with an answer that is on its way on the server; in the browser its page is gone. */
  #takeUp(live: LiveConversation): void {
    const streaming = live.messages.filter(({ status }) => status === 'streaming');
    if (!store.runs) for (const message of streaming) message.status = 'stopped';
    if (!store.runs || live.running || streaming.length === 0) return;
    const all = new AbortController();
    live.running = all;
    const fill = (message: Message) => this.#fill(live, message, null, all.signal);
    void Promise.all(streaming.map(fill)).then(() => this.#ended(live, streaming));
  }

  go(id: string | null): void {
    location.hash = id === null ? '#/' : `#/c/${id}`;
  }

  choose(model: string): void {
    preferences.set('model', model);
    if (this.open) void this.change(this.open.about.id, { model });
  }

  async setSettings(settings: Settings): Promise<void> {
    if (this.open) await this.change(this.open.about.id, { settings });
    else this.draft = settings;
  }

  /** Asks, at the end of the open conversation or as the first of a new one. */
  async send(text: string, files: ChatFile[] = []): Promise<void> {
    const live = this.open ?? this.#create(text || (files[0]?.name ?? ''));
    if (live.running) return;
    await this.#ask(live, text, live.about.leaf, files);
  }

  /** Asks several models the same, at the end of the open conversation or as the first of a new one. */
  async compare(text: string, models: string[], files: ChatFile[] = []): Promise<void> {
    const live = this.open ?? this.#create(text || (files[0]?.name ?? ''));
    if (live.running) return;
    const question = live.add({
      ...blank(live, live.about.leaf),
      role: 'user',
      content: text,
      files,
      status: 'done',
    });
    const comparison = freshId();
    const answers = models.map((model) =>
      live.add({ ...blank(live, question.id), model, comparison }),
    );
    // The first one is the path until another is kept.
    live.about.leaf = answers[0]?.id ?? question.id;
    await this.#answer(live, answers, [question]);
  }

  /** Goes on with one of the compared answers; the others stay beside it as its versions. */
  async keep(live: LiveConversation, message: Message): Promise<void> {
    if (live.running) return;
    const answers = comparedWith(live.messages, message);
    for (const answer of answers) answer.comparison = null;
    live.about.leaf = message.id;
    live.about.model = message.model;
    await this.#guarded(() => store.saveMessages($state.snapshot(answers)));
    await this.#keepAbout(live.about, false);
    this.announcement = i18n.t.kept(message.model ?? '');
  }

  /** Asks something else in place of an earlier question: a branch beside it. */
  async edit(live: LiveConversation, message: Message, text: string): Promise<void> {
    const { files } = $state.snapshot(message);
    if (!live.running) await this.#ask(live, text, message.parent, files);
  }

  /** Answers once more: a branch beside the earlier answer, or in place of one that failed. */
  async regenerate(live: LiveConversation, message: Message): Promise<void> {
    if (live.running) return;
    if (message.status === 'failed' && !message.content && !message.reasoning) {
      live.messages = live.messages.filter((other) => other.id !== message.id);
      const { id, created } = message;
      // A column of a comparison stays what and where it is.
      const column = message.comparison
        ? { created, model: message.model, comparison: message.comparison }
        : {};
      const again = live.add({ ...blank(live, message.parent), id, ...column });
      await this.#answer(live, [again]);
      return;
    }
    await this.#answer(live, [live.add(blank(live, message.parent))]);
  }

  /** Goes on after a login: asks again what nobody was let in for, as the question may not be kept. */
  async resume(): Promise<void> {
    const live = this.open;
    const last = live?.path.at(-1);
    void this.loadModels();
    if (!live || live.running || last?.failure?.kind !== 'unauthorized') return this.refresh();
    const question = live.messages.filter((other) => other.id === last.parent);
    live.messages = live.messages.filter((other) => other.id !== last.id);
    const again = { ...blank(live, last.parent), id: last.id, created: last.created };
    await this.#answer(live, [live.add(again)], question);
  }

  stop(): void {
    this.open?.running?.abort();
  }

  /** Shows the path through another version. */
  async show(live: LiveConversation, message: Message): Promise<void> {
    live.about.leaf = leafBelow(live.messages, message.id);
    await this.#keepAbout(live.about, false);
  }

  /** A new conversation with the path up to here. */
  async fork(live: LiveConversation, message: Message): Promise<void> {
    const path = pathTo($state.snapshot(live.messages), message.id);
    const about = {
      ...$state.snapshot(live.about),
      pinned: false,
      archived: false,
      leaf: message.id,
    };
    const record = refreshed({ conversation: about, messages: path });
    record.conversation.created = record.conversation.updated = Date.now();
    await this.#guarded(() => store.save(record.conversation));
    await this.#guarded(() => store.saveMessages(record.messages));
    await this.reload();
    this.go(record.conversation.id);
    this.announcement = i18n.t.forked;
  }

  /** Renames, pins, archives, moves: whatever a list shows of a conversation. */
  async change(id: string, part: Partial<Conversation>): Promise<void> {
    const live = this.live.get(id);
    const listed = this.conversations.find((conversation) => conversation.id === id);
    const about = live?.about ?? listed;
    if (!about) return;
    Object.assign(about, part);
    await this.#keepAbout(about, false);
  }

  async remove(id: string): Promise<void> {
    this.live.get(id)?.running?.abort();
    this.live.delete(id);
    await this.#guarded(() => store.remove(id));
    await this.reload();
    if (this.open?.about.id === id) this.go(null);
  }

  #create(text: string): LiveConversation {
    const now = Date.now();
    const live = new LiveConversation(
      {
        id: freshId(),
        title: titleOf(text),
        titled: false,
        created: now,
        updated: now,
        pinned: false,
        archived: false,
        folder: null,
        model: this.model?.id ?? null,
        settings: $state.snapshot(this.draft),
        leaf: null,
      },
      [],
    );
    this.draft = defaultSettings();
    this.live.set(live.about.id, live);
    this.open = live;
    this.go(live.about.id);
    return live;
  }

  async #ask(
    live: LiveConversation,
    text: string,
    parent: string | null,
    files: ChatFile[] = [],
  ): Promise<void> {
    const question = live.add({
      ...blank(live, parent),
      role: 'user',
      content: text,
      files,
      status: 'done',
    });
    await this.#answer(live, [live.add(blank(live, question.id))], [question]);
  }

  /**
   * Has all of these answered at the same time, each by its model, or else the conversation's; `before`
   * them are messages that are not kept yet.
   */
  async #answer(
    live: LiveConversation,
    messages: Message[],
    before: Message[] = [],
  ): Promise<void> {
    const all = new AbortController();
    live.running = all;
    this.announcement = '';
    await this.#keepAbout(live.about, true);
    const requests = new Map<Message, ChatRequest>();
    for (const message of messages) requests.set(message, await this.#request(live, message));
    try {
      await store.saveMessages($state.snapshot([...before, ...messages]));
    } catch (error) {
      // The server answers only what it has; a browser that is full answers all the same.
      if (store.runs) {
        for (const message of messages) fail(message, error);
        return this.#ended(live, messages);
      }
      this.storageFailure = 'browser';
    }
    const fill = (message: Message) =>
      this.#fill(live, message, requests.get(message) ?? null, all.signal);
    await Promise.all(messages.map(fill));
    this.#ended(live, messages);
  }

  /** What asks for an answer; the message learns which model makes it, and with which seed. */
  async #request(live: LiveConversation, message: Message): Promise<ChatRequest> {
    const model = this.#chosen(message.model ?? live.about.model);
    message.model = model?.id ?? message.model ?? live.about.model ?? '';
    // With its seed this server draws an answer again; others may not know what a seed is.
    const own = model === null || model.upstream === null;
    message.seed = live.about.settings.seed ?? (own ? freshSeed() : null);
    const path = pathTo(live.messages, message.parent);
    const { settings } = live.about;
    const reasons = settings.thinking != null && (await this.learn(message.model));
    const request = requestFor(message.model, settings, path, message.seed, reasons);
    const tools = store.runs ? namesIn(settings) : [];
    return tools.length > 0 ? { ...request, app_tools: tools } : request;
  }

  /** Until an answer has ended. Without a request it is on its way on the server already. */
  async #fill(
    live: LiveConversation,
    message: Message,
    request: ChatRequest | null,
    all: AbortSignal,
  ): Promise<void> {
    const abort = new AbortController();
    if (all.aborted) abort.abort();
    all.addEventListener('abort', () => abort.abort());
    live.stops.set(message.id, abort);
    if (store.runs || !request) {
      return followAnswer(message, request, abort.signal, (title) => {
        if (live.about.titled) return;
        live.about.title = title;
        this.#listed($state.snapshot(live.about));
      });
    }
    // It comes to this page alone, which keeps it.
    const keep = () => this.#guarded(() => store.saveMessages([$state.snapshot(message)]));
    const timer = setInterval(() => void keep(), KEEP_MS);
    await fill(message, request, abort);
    clearInterval(timer);
    // Deleted in the meantime: nothing of it comes back.
    if (this.live.get(live.about.id) === live) await keep();
  }

  #ended(live: LiveConversation, messages: Message[]): void {
    live.running = null;
    live.stops.clear();
    if (this.live.get(live.about.id) !== live) return;
    const { t } = i18n;
    const [only] = messages;
    if (messages.length > 1) this.announcement = t.allAnswered(messages.length);
    else if (only?.status === 'failed') this.announcement = t.answerFailed;
    else this.announcement = t.answerFinished(only?.content ?? '');
    const reached = messages.some((message) => message.failure?.kind !== 'unreachable');
    if (reached && this.modelsFailure) void this.loadModels();
  }

  async #keepAbout(about: Conversation, touched: boolean): Promise<void> {
    if (touched) about.updated = Date.now();
    const kept = $state.snapshot(about);
    await this.#guarded(() => store.save(kept));
    this.#listed(kept);
  }

  #listed(about: Conversation): void {
    const others = this.conversations.filter(({ id }) => id !== about.id);
    this.conversations = [about, ...others].sort((a, b) => b.updated - a.updated);
  }

  /** Storage can be closed, full or away; the chat goes on, and says so. */
  async #guarded<T>(work: () => Promise<T>): Promise<T | null> {
    try {
      const done = await work();
      this.storageFailure = null;
      return done;
    } catch (error) {
      // Who has no key yet is told so where the models would be.
      if (failureOf(error).kind !== 'unauthorized')
        this.storageFailure = store.runs ? 'server' : 'browser';
      return null;
    }
  }
}

function sameMessages(one: Message[], other: Message[]): boolean {
  const same = (message: Message, index: number) =>
    message.id === other[index]?.id &&
    message.status === other[index]?.status &&
    (message.comparison ?? null) === (other[index]?.comparison ?? null);
  return one.length === other.length && one.every(same);
}

function fail(message: Message, error: unknown): void {
  const { kind, message: words, code } = failureOf(error);
  message.status = 'failed';
  message.failure = { kind, message: words, code };
}

function blank(live: LiveConversation, parent: string | null): Message {
  // Later than all others, whatever the clock says: times order a tree, parents before children.
  const latest = live.messages.reduce((latest, { created }) => Math.max(latest, created), 0);
  return {
    id: freshId(),
    conversation: live.about.id,
    parent,
    role: 'assistant',
    content: '',
    reasoning: '',
    created: Math.max(Date.now(), latest + 1),
    model: null,
    status: 'streaming',
    failure: null,
    measures: null,
    seed: null,
  };
}

export const chat = new Chat();
