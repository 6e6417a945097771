/** Latency histograms on a logarithmic axis: three buckets a decade, drawn with blocks. */
import { formatSpan, type ClockUnit } from '../base/units.js';
import type { Row } from './rows.js';
import { num } from './rows.js';

/** Buckets per factor of ten. */
const PER_DECADE = 3;

export interface Bucket {
  /** Its number: durations in [10^(index/3), 10^((index+1)/3)) ns. */
  readonly index: number;
  readonly count: number;
}

/** SQL that gives the bucket number of a duration column in ns; a duration of 0 falls into bucket 0. */
export function bucketSql(column: string): string {
  return `floor(log10(greatest(${column}, 1)::DOUBLE) * ${PER_DECADE} + 1e-9)::INTEGER`;
}

/** Buckets from rows with columns `bucket` and `n`, ascending. */
export function readBuckets(rows: readonly Row[]): readonly Bucket[] {
  return rows.map((row) => ({ index: num(row, 'bucket'), count: num(row, 'n') })).sort((a, b) => a.index - b.index);
}

/** Lower border of a bucket, ns. */
export function bucketStart(index: number): number {
  return 10 ** (index / PER_DECADE);
}

const EIGHTHS = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];

/** A bar of `length` columns (fractions drawn in eighths, or rounded up in ASCII so that nothing vanishes). */
export function drawBar(length: number, unicode: boolean, mark = unicode ? '█' : '#'): string {
  if (!unicode || mark !== '█') return mark.repeat(length > 0 ? Math.max(1, Math.round(length)) : 0);
  const whole = Math.floor(length);
  const rest = EIGHTHS[Math.floor((length - whole) * 8)]!;
  const bar = '█'.repeat(whole) + rest;
  return bar === '' && length > 0 ? '▏' : bar;
}

/** One line a bucket from the first that is filled to the last, `width` columns in all; borders in the clock's unit. */
export function drawHistogram(
  buckets: readonly Bucket[],
  { width, unicode, unit }: { readonly width: number; readonly unicode: boolean; readonly unit: ClockUnit },
): readonly string[] {
  const first = buckets[0];
  const last = buckets.at(-1);
  if (first === undefined || last === undefined) return [];
  const counts = new Map(buckets.map((b) => [b.index, b.count]));
  const most = Math.max(...counts.values());
  const room = Math.max(8, width - 12 - String(most).length - 2);
  const lines: string[] = [];
  for (let index = first.index; index <= last.index; index++) {
    const count = counts.get(index) ?? 0;
    const bar = drawBar((count / most) * room, unicode);
    const label = formatSpan(bucketStart(index), unit).padStart(8);
    lines.push(`${label} ${unicode ? '│' : '|'}${bar}${count > 0 ? ` ${count}` : ''}`);
  }
  return lines;
}

const LEVELS = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const ASCII_LEVELS = ['.', ':', '-', '=', '+', '*', '#', '@'];

/**
 * A histogram as one line of `width` characters over buckets [from, to] (the same for all lines of a table, so that
 * they can be compared); an empty bucket is a blank, a filled one never is.
 */
export function drawSparkline(
  buckets: readonly Bucket[],
  axis: { readonly from: number; readonly to: number },
  options: { readonly width: number; readonly unicode: boolean },
): string {
  const levels = options.unicode ? LEVELS : ASCII_LEVELS;
  const span = axis.to - axis.from + 1;
  const columns = Math.min(options.width, span);
  const counts = Array.from({ length: columns }, () => 0);
  for (const { index, count } of buckets) counts[Math.floor(((index - axis.from) * columns) / span)]! += count;
  const most = Math.max(...counts);
  return counts.map((n) => (n === 0 ? ' ' : levels[Math.min(7, Math.ceil((n / most) * 8) - 1)]!)).join('');
}
