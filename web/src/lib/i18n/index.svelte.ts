// Chooses the language, and writes numbers, shares and times as it does.
import { preferences } from '../preferences.svelte';
import { en, type Messages } from './en';
import { fr } from './fr';
import { zh } from './zh';

export const languages = { en: 'English', fr: 'Français', zh: '中文' } as const;
export type Language = keyof typeof languages;
export const tables: { [L in Language]: Messages } = { en, fr, zh };

/** The first of the browser's languages that there is. */
export function preferred(wanted: readonly string[]): Language {
  for (const tag of wanted) {
    const language = tag.toLowerCase().split('-', 1)[0] ?? '';
    if (Object.hasOwn(tables, language)) return language as Language;
  }
  return 'en';
}

class I18n {
  readonly language = $derived<Language>(preferences.language ?? preferred(navigator.languages));
  readonly t = $derived(tables[this.language]);
  readonly locale = $derived(this.language === 'zh' ? 'zh-CN' : this.language);

  number(value: number, digits = 0): string {
    return new Intl.NumberFormat(this.locale, { maximumFractionDigits: digits }).format(value);
  }
  /** A size, in the unit that leaves one to three digits before the point. */
  bytes(value: number): string {
    const units = ['byte', 'kilobyte', 'megabyte', 'gigabyte', 'terabyte'];
    const power = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(1, value)) / 3));
    return new Intl.NumberFormat(this.locale, {
      style: 'unit',
      unit: units[power] ?? 'byte',
      maximumFractionDigits: power === 0 ? 0 : 1,
    }).format(value / 1000 ** power);
  }
  percent(share: number): string {
    const digits = share >= 0.1 || share === 0 ? 0 : share >= 0.001 ? 1 : 3;
    return new Intl.NumberFormat(this.locale, {
      style: 'percent',
      maximumFractionDigits: digits,
    }).format(share);
  }
  duration(ms: number): string {
    if (ms < 1000) return this.t.milliseconds(this.number(ms));
    return this.t.seconds(this.number(ms / 1000, ms < 10_000 ? 1 : 0));
  }
  /** The day of a time in seconds since 1970. */
  day(seconds: number): string {
    const format = new Intl.DateTimeFormat(this.locale, { dateStyle: 'medium' });
    return format.format(new Date(seconds * 1000));
  }
  month(year: number, month: number): string {
    const format = new Intl.DateTimeFormat(this.locale, { month: 'long', year: 'numeric' });
    return format.format(new Date(year, month, 1));
  }
}

export const i18n = new I18n();
