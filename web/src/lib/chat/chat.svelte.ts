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
import { i18n } from '../i18n/index.svelte';
import { freshId, freshSeed } from '../id';
import { preferences } from '../preferences.svelte';
import { chooseStore, declineToMove, leftInBrowser, moveToServer, store } from '../store';
import { defaultSettings, type Conversation, type Message, type Settings } from '../store/types';
import { fill, requestFor } from './answer';
import { followAnswer } from './follow';
import { LiveConversation } from './conversation.svelte';
import { refreshed } from '../store/exchange';
import { leafBelow, pathTo, titleOf } from './tree';

/** How often an answer on its way is kept, so that a closed page loses little. */
const KEEP_MS = 2000;

class Chat {
  conversations = $state<Conversation[]>([]);
  /** Null: a new conversation, which exists from its first message on. */
  open = $state.raw<LiveConversation | null>(null);
  /** Whether the address names a conversation that is not here. */
  missing = $state(false);
  loading = $state(true);
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
    await chooseStore();
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
    const known = this.#reasons.get(model);
    if (known !== undefined) return known;
    const found = await reasons(model).catch(() => false);
    this.#reasons.set(model, found);
    return found;
  }

  /** Shows what the address names: `#/c/ID`, or nothing for a new conversation. */
  async #follow(): Promise<void> {
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
    for (const message of live.messages) {
      if (message.status !== 'streaming') continue;
      if (store.runs && !live.running) void this.#run(live, message, null);
      else if (!store.runs) message.status = 'stopped';
    }
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
  async send(text: string): Promise<void> {
    const live = this.open ?? this.#create(text);
    if (live.running) return;
    await this.#ask(live, text, live.about.leaf);
  }

  /** Asks something else in place of an earlier question: a branch beside it. */
  async edit(live: LiveConversation, message: Message, text: string): Promise<void> {
    if (!live.running) await this.#ask(live, text, message.parent);
  }

  /** Answers once more: a branch beside the earlier answer, or in place of one that failed. */
  async regenerate(live: LiveConversation, message: Message): Promise<void> {
    if (live.running) return;
    if (message.status === 'failed' && !message.content && !message.reasoning) {
      live.messages = live.messages.filter((other) => other.id !== message.id);
      const again = live.add({ ...blank(live, message.parent), id: message.id });
      await this.#answer(live, again);
      return;
    }
    await this.#answer(live, live.add(blank(live, message.parent)));
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

  async #ask(live: LiveConversation, text: string, parent: string | null): Promise<void> {
    const question = live.add({
      ...blank(live, parent),
      role: 'user',
      content: text,
      status: 'done',
    });
    await this.#answer(live, live.add(blank(live, question.id)), [question]);
  }

  /** Answers into a message; `before` it are messages that are not kept yet. */
  async #answer(live: LiveConversation, message: Message, before: Message[] = []): Promise<void> {
    const model = this.#chosen(live.about.model)?.id ?? live.about.model ?? '';
    message.model = model;
    message.seed = live.about.settings.seed ?? freshSeed();
    const path = pathTo(live.messages, message.parent);
    const abort = new AbortController();
    live.running = abort;
    this.announcement = '';
    await this.#keepAbout(live.about, true);
    const { settings } = live.about;
    const reasons = settings.thinking != null && (await this.learn(model));
    const request = requestFor(model, settings, path, message.seed, reasons);
    try {
      await store.saveMessages($state.snapshot([...before, message]));
    } catch (error) {
      // The server answers only what it has; a browser that is full answers all the same.
      if (store.runs) return this.#failed(live, message, error);
      this.storageFailure = 'browser';
    }
    if (store.runs) await this.#run(live, message, request, abort);
    else await this.#fill(live, message, request, abort);
  }

  /** The answer comes to this page alone, which keeps it. */
  async #fill(
    live: LiveConversation,
    message: Message,
    request: ChatRequest,
    abort: AbortController,
  ): Promise<void> {
    const keep = () => this.#guarded(() => store.saveMessages([$state.snapshot(message)]));
    const timer = setInterval(() => void keep(), KEEP_MS);
    await fill(message, request, abort);
    clearInterval(timer);
    live.running = null;
    // Deleted in the meantime: nothing of it comes back.
    if (this.live.get(live.about.id) !== live) return;
    await keep();
    this.#ended(message);
  }

  /** The answer is the server's; without a request it is on its way already. */
  async #run(
    live: LiveConversation,
    message: Message,
    request: ChatRequest | null,
    abort = new AbortController(),
  ): Promise<void> {
    live.running = abort;
    await followAnswer(message, request, abort.signal, (title) => {
      if (live.about.titled) return;
      live.about.title = title;
      this.#listed($state.snapshot(live.about));
    });
    live.running = null;
    this.#ended(message);
  }

  #failed(live: LiveConversation, message: Message, error: unknown): void {
    const { kind, message: words, code } = failureOf(error);
    message.status = 'failed';
    message.failure = { kind, message: words, code };
    live.running = null;
    this.#ended(message);
  }

  #ended(message: Message): void {
    const { t } = i18n;
    this.announcement =
      message.status === 'failed' ? t.answerFailed : t.answerFinished(message.content);
    if (message.failure?.kind !== 'unreachable' && this.modelsFailure) void this.loadModels();
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
    message.id === other[index]?.id && message.status === other[index]?.status;
  return one.length === other.length && one.every(same);
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
