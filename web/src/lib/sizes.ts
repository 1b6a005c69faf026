// Writes bytes and large counts as the language does.
import { i18n } from './i18n/index.svelte';

/** A size in decimal units, as on disks. */
export function size(bytes: number): string {
  const [unit, divisor] = bytes >= 1e9 ? ['gigabyte', 1e9] : ['megabyte', 1e6];
  const value = bytes / divisor;
  return new Intl.NumberFormat(i18n.locale, {
    style: 'unit',
    unit,
    maximumFractionDigits: value >= 100 ? 0 : 1,
  }).format(value);
}

/** A count in two or three digits: 135M. */
export function compact(count: number): string {
  return new Intl.NumberFormat(i18n.locale, {
    notation: 'compact',
    maximumSignificantDigits: 3,
  }).format(count);
}
