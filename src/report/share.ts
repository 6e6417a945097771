import { UNKNOWN_CELL } from './table.js';

/** A part of a whole in percent, not rounded; null where the whole is 0. */
export function share(part: number, whole: number): number | null {
  return whole === 0 ? null : (part * 100) / whole;
}

/** `12.3%`; `100%` and `0%` only where it is all or nothing. */
export function percent(part: number, whole: number): string {
  const value = share(part, whole);
  if (value === null) return UNKNOWN_CELL;
  if (part === 0 || part === whole) return `${value}%`;
  if (value < 0.05) return '<0.1%';
  return value >= 99.95 ? '>99.9%' : `${value.toFixed(1)}%`;
}

/** Cut to so many decimals: the last bits of a float depend on the order of a sum. */
export function rounded(value: number | null, digits: number): number | null {
  return value === null ? null : Number(value.toFixed(digits));
}
