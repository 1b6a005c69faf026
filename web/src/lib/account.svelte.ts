// Who is signed in, and whether the page must ask.
import { ApiFailure, key, onUnauthorized } from './api/client';
import { people, type Session } from './api/people';
import { ARRIVALS, type Arrival } from './i18n/issuer';

/** An invitation, or a link to a new password: what opens stands where no server sees it. */
const LINK = /^#\/(invite|renew)\/(\w+)$/;

/** How somebody came back from the issuer: the server says it in the address. */
const ARRIVED = /^#\/arrived\/(\w+)$/;

class Account {
  /** Null: the server has not said yet, or cannot. */
  session = $state.raw<Session | null>(null);
  /** Whether the page asks to sign in. */
  asked = $state(false);
  /** Whether there was a session before. */
  lost = $state(false);
  /** What the address carries: a token, and whether it is for a new account. */
  link = $state.raw<{ token: string; isNew: boolean } | null>(null);
  /** How somebody came back from the issuer, until it is told. */
  arrival = $state.raw<Arrival | null>(null);
  #entered: () => void = () => {};
  /** Whose page it was before the session ended. */
  #last: string | null = null;

  readonly user = $derived(this.session?.user ?? null);
  readonly isAdmin = $derived(this.user?.role === 'admin');
  /** Whether whoever is here runs the server: an administrator, or the one on the machine. */
  readonly manages = $derived(this.session?.role === 'admin');

  async start(entered: () => void): Promise<void> {
    this.#entered = entered;
    onUnauthorized(() => void this.#refused());
    addEventListener('hashchange', () => this.#follow());
    this.#follow();
    await this.load();
  }

  #follow(): void {
    const arrived = ARRIVED.exec(location.hash)?.[1];
    if (arrived !== undefined) {
      this.arrival = ARRIVALS.find((arrival) => arrival === arrived) ?? 'failed';
      history.replaceState(null, '', '/');
    }
    const found = LINK.exec(location.hash);
    this.link = found?.[2] ? { token: found[2], isNew: found[1] === 'invite' } : null;
  }

  /** Tells it once. */
  takeArrival(): Arrival | null {
    const { arrival } = this;
    this.arrival = null;
    return arrival;
  }

  async load(): Promise<void> {
    try {
      this.session = await people.session();
    } catch {
      // An unreachable server is told where an answer is asked for.
      return;
    }
    if (this.session.mode === 'account' && this.session.role === null) this.asked = true;
  }

  /** The server has let nobody in: with accounts, someone must sign in. */
  async #refused(): Promise<void> {
    if (this.asked) return;
    this.#last = this.user?.id ?? this.#last;
    this.lost = this.#last !== null;
    await this.load();
  }

  /** Comes in by a way that gives a session. An API key of before would come first: it goes. */
  async enter(way: Promise<Session>): Promise<void> {
    const before = this.user?.id ?? this.#last;
    const session = await way;
    key.write('');
    if (this.link) history.replaceState(null, '', '/');
    // Nothing of another one, or of nobody, stays in the page.
    if (before !== session.user?.id) return location.reload();
    this.session = session;
    this.link = null;
    this.asked = false;
    this.lost = false;
    this.#entered();
  }

  async signOut(): Promise<void> {
    key.write('');
    await people.signOut();
    location.reload();
  }
}

/** What a person is told of a failure. */
export function told(error: unknown): string {
  return error instanceof ApiFailure || error instanceof Error ? error.message : String(error);
}

export const account = new Account();
