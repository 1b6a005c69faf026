// Turns sums of days into the bars of a chart: every day has its place, also one without a sum.
import type { Used } from './api/data';

export interface Bar {
  /** `2026-11-27` */
  day: string;
  requests: number;
  /** Tokens in, then out. */
  prompt: number;
  generated: number;
}

const DAY = 24 * 3600 * 1000;

/** One bar a day from the first to the last, both among them. */
export function bars(from: string, to: string, days: Used[]): Bar[] {
  const known = new Map(days.map((day) => [day.name, day]));
  const all: Bar[] = [];
  for (let at = Date.parse(from); at <= Date.parse(to); at += DAY) {
    const day = new Date(at).toISOString().slice(0, 10);
    const used = known.get(day);
    all.push({
      day,
      requests: used?.requests ?? 0,
      prompt: used?.prompt_tokens ?? 0,
      generated: used?.generated_tokens ?? 0,
    });
  }
  return all;
}

/** The next round number above: 1, 2 or 5 and zeros. */
export function roundAbove(value: number): number {
  if (value <= 1) return 1;
  const unit = 10 ** Math.floor(Math.log10(value));
  return unit * ([1, 2, 5, 10].find((step) => step * unit >= value) ?? 10);
}
