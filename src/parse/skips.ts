import type { Skipped } from './model.js';

/** Counts what could not be read, one entry a reason with the place of its first case. */
export class SkipLog {
  private readonly entries = new Map<string, { count: number; first: string }>();

  /** Adds `count` cases of `reason`; `first` (`byte 69632`, `cpu 1 page 3`) is kept of the first one. */
  add(reason: string, first: string, count = 1): void {
    const entry = this.entries.get(reason);
    if (entry) entry.count += count;
    else this.entries.set(reason, { count, first });
  }

  /** All reasons, in the order in which they came up. */
  list(): Skipped[] {
    return [...this.entries].map(([reason, { count, first }]) => ({ reason, count, first }));
  }
}
