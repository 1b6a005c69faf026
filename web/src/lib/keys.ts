// Says what a key press means where text is written.

/** The key of commands, as the keyboard in front of the person has it. */
export const command = (): string => (/Mac|iPhone|iPad/.test(navigator.userAgent) ? '⌘' : 'Ctrl');

/** What Chromium and Safari report for keys that an input method takes. */
const TAKEN_BY_INPUT_METHOD = 229;

type Press = Pick<KeyboardEvent, 'key' | 'shiftKey' | 'altKey' | 'isComposing' | 'keyCode'>;

/**
 * Whether this press sends: Enter alone. Enter that accepts a candidate of an input method never does; Safari
 * ends the composition before that press and tells it by its code alone.
 */
export function sends(event: Press): boolean {
  return (
    event.key === 'Enter' &&
    !event.shiftKey &&
    !event.altKey &&
    !event.isComposing &&
    event.keyCode !== TAKEN_BY_INPUT_METHOD
  );
}
