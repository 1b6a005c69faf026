// Which of this server's own models are loaded: looked at once, or once a second while somebody watches.
import { own, type OwnModel, type OwnModels } from './api/models';

const EVERY_MS = 1000;

class Shelf {
  /** Null: not looked at yet, or the server is away. */
  models = $state.raw<OwnModels | null>(null);
  #watching = 0;

  find(name: string | null): OwnModel | null {
    return this.models?.data.find(({ names }) => names.includes(name ?? '')) ?? null;
  }

  async look(): Promise<void> {
    try {
      this.models = await own.list();
    } catch {
      // What was seen last stays: who needs the server is told elsewhere that it is away.
    }
  }

  /** Looks once a second, while the page is seen, until the returned function is called. */
  watch(): () => void {
    this.#watching += 1;
    if (this.#watching === 1) void this.#look();
    return () => (this.#watching -= 1);
  }

  async #look(): Promise<void> {
    while (this.#watching > 0) {
      if (document.visibilityState === 'visible') await this.look();
      await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
    }
  }
}

export const shelf = new Shelf();
