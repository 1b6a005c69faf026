// Keeps what a person has chosen for this browser: theme, language, model, sidebar.
import type { Language } from './i18n/index.svelte';

export type Theme = 'system' | 'light' | 'dark';

// public/theme.js reads it too, before the first paint.
const KEY = 'myriad.preferences';

interface Kept {
  theme: Theme;
  language: Language | null;
  model: string | null;
  sidebar: boolean;
}

function kept(): Partial<Kept> {
  try {
    const value: unknown = JSON.parse(localStorage.getItem(KEY) ?? '{}');
    return typeof value === 'object' && value !== null ? value : {};
  } catch {
    return {};
  }
}

class Preferences {
  theme = $state<Theme>('system');
  language = $state<Language | null>(null);
  model = $state<string | null>(null);
  sidebar = $state(true);

  constructor() {
    const { model, sidebar } = kept();
    if (typeof model === 'string') this.model = model;
    if (typeof sidebar === 'boolean') this.sidebar = sidebar;
    this.#look();
    // Another tab of this browser has chosen; tests of units have neither.
    globalThis.addEventListener?.('storage', ({ key }) => key === KEY && this.#look());
  }

  /** Takes theme and language as they are kept now: they hold for the browser, the rest for a tab. */
  #look(): void {
    const { theme, language } = kept();
    this.theme = theme === 'light' || theme === 'dark' ? theme : 'system';
    this.language = language === 'en' || language === 'fr' || language === 'zh' ? language : null;
  }

  set<K extends keyof Kept>(name: K, value: Kept[K]): void {
    (this as Kept)[name] = value;
    const { theme, language, model, sidebar } = this;
    try {
      localStorage.setItem(KEY, JSON.stringify({ theme, language, model, sidebar }));
    } catch {
      // Storage is closed: the choice holds until the page is.
    }
  }
}

export const preferences = new Preferences();
