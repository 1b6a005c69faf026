// Turns the chosen theme, or the system's, into an attribute that the style reads.
import { preferences } from './preferences.svelte';

/** What is shown now, for what cannot read the style. */
export const theme = $state({ dark: false });

export function followTheme(): void {
  const system = matchMedia('(prefers-color-scheme: dark)');
  let dark = $state(system.matches);
  system.addEventListener('change', () => (dark = system.matches));
  $effect(() => {
    const chosen = preferences.theme === 'system' ? (dark ? 'dark' : 'light') : preferences.theme;
    document.documentElement.dataset['theme'] = chosen;
    theme.dark = chosen === 'dark';
  });
}
