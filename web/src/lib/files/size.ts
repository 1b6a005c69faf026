// Turns bytes into the words that a person reads.
import { i18n } from '../i18n/index.svelte';

const KILO = 1000;

export function sizeOf(bytes: number): string {
  // Nothing but an empty file has none.
  const kilobytes = bytes === 0 ? 0 : Math.max(bytes / KILO, 0.1);
  if (kilobytes < KILO) return i18n.t.kilobytes(i18n.number(kilobytes, kilobytes < 10 ? 1 : 0));
  const megabytes = kilobytes / KILO;
  return i18n.t.megabytes(i18n.number(megabytes, megabytes < 10 ? 1 : 0));
}
