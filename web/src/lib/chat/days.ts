// Turns times into the groups of the history: today, yesterday, this week, this month, months.

export type Age = 'today' | 'yesterday' | 'week' | 'month' | { year: number; month: number };

const DAY_MS = 86_400_000;

/** Calendar days count, not spans of 24 hours. */
export function ageOf(time: number, now: number): Age {
  const then = new Date(time);
  const days = Math.round((midnight(now) - midnight(time)) / DAY_MS);
  if (days <= 0) return 'today';
  if (days === 1) return 'yesterday';
  if (days <= 7) return 'week';
  if (days <= 30) return 'month';
  return { year: then.getFullYear(), month: then.getMonth() };
}

function midnight(time: number): number {
  const date = new Date(time);
  return new Date(date.getFullYear(), date.getMonth(), date.getDate()).getTime();
}
