// The tools that the server has, and which of them are on in a conversation.
import { failureOf, type ApiFailure } from '../api/client';
import * as api from '../api/tools';
import { store } from '../store';
import type { Settings } from '../store/types';

class Toolbox {
  /** Whether there are any to choose from. */
  offered = $state(false);
  servers = $state.raw<api.ToolServer[]>([]);
  loading = $state(false);
  failure = $state.raw<ApiFailure | null>(null);

  /** Asks whether there are tools: calls are the server's, as answers are where it keeps them. */
  async look(): Promise<void> {
    this.offered = store.runs !== null && (await api.areThere().catch(() => false));
  }

  /** Asks which there are; the server asks its own servers. */
  async load(): Promise<void> {
    this.loading = true;
    try {
      this.servers = await api.list();
      this.failure = null;
    } catch (error) {
      this.failure = failureOf(error);
    }
    this.loading = false;
  }
}

export const toolbox = new Toolbox();

/** Names of the tools that are on. */
export const namesIn = ({ tools }: Settings): string[] => (tools ?? '').split(' ').filter(Boolean);

/** The settings with these tools on or off. */
export function switched(settings: Settings, names: string[], on: boolean): Settings {
  const others = namesIn(settings).filter((name) => !names.includes(name));
  return { ...settings, tools: [...others, ...(on ? names : [])].join(' ') };
}
