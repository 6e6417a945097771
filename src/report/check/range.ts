import type { Range } from './spec-types.js';

/** Whether a value is one that the range allows. */
export function isInside(value: number, range: Range): boolean {
  return (range.min === null || value >= range.min) && (range.max === null || value <= range.max);
}

/** A range in words: `2`, `at least 3`, `at most 9`, `3 to 9`. */
export function rangeText(range: Range, format: (value: number) => string): string {
  const { min, max } = range;
  if (min !== null && max !== null) return min === max ? format(min) : `${format(min)} to ${format(max)}`;
  if (min !== null) return `at least ${format(min)}`;
  return max === null ? 'anything' : `at most ${format(max)}`;
}
