// Turns the messages of a conversation into its tree: paths, siblings, branches.
import type { Message } from '../store/types';

/** From the first message to the one with this id. */
export function pathTo(messages: Iterable<Message>, leaf: string | null): Message[] {
  const byId = new Map([...messages].map((message) => [message.id, message]));
  const path: Message[] = [];
  let at = leaf === null ? undefined : byId.get(leaf);
  // A path is never longer than the tree: a circle in broken data ends here too.
  while (at && path.length < byId.size) {
    path.push(at);
    at = at.parent === null ? undefined : byId.get(at.parent);
  }
  return path.reverse();
}

/** The versions that stand at a message's place, in the order in which they were made. */
export function siblings(messages: Iterable<Message>, of: Message): Message[] {
  return [...messages]
    .filter((message) => message.parent === of.parent && message.role === of.role)
    .sort((a, b) => a.created - b.created);
}

/** Messages of one place are versions of each other. */
export const placeOf = ({ parent, role }: Message): string => `${role} ${parent ?? ''}`;

/** The messages of each place. */
export function placesOf(messages: Iterable<Message>): Map<string, Message[]> {
  const places = new Map<string, Message[]>();
  for (const message of messages) {
    const place = placeOf(message);
    const there = places.get(place);
    if (there) there.push(message);
    else places.set(place, [message]);
  }
  return places;
}

/** Models whose answers stand side by side: as many columns as a screen has room for. */
export const COMPARED_MAX = 4;

/** The answers that are compared with this one, itself among them; none where nothing is compared. */
export function comparedWith(messages: Iterable<Message>, of: Message | undefined): Message[] {
  if (!of?.comparison) return [];
  return siblings(messages, of).filter(({ comparison }) => comparison === of.comparison);
}

/** Where a path through this message ends: at its latest descendants. */
export function leafBelow(messages: Iterable<Message>, id: string): string {
  const latest = new Map<string, Message>();
  for (const message of messages) {
    if (message.parent === null) continue;
    const other = latest.get(message.parent);
    if (!other || message.created >= other.created) latest.set(message.parent, message);
  }
  let at = id;
  for (let next = latest.get(at); next; next = latest.get(at)) {
    latest.delete(at);
    at = next.id;
  }
  return at;
}

/** The first line of a text, short enough for a list. */
export function titleOf(text: string, lengthMax = 60): string {
  const line =
    text
      .trim()
      .split('\n', 1)[0]
      ?.replace(/^[#>*\s`-]+/, '')
      .trim() ?? '';
  const letters = [...line];
  return letters.length <= lengthMax
    ? line
    : `${letters
        .slice(0, lengthMax - 1)
        .join('')
        .trimEnd()}…`;
}
