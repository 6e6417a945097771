/** Exact order statistics of durations, made by DuckDB. */
import { numOrNull, type Row } from './rows.js';
import type { CellValue } from './table.js';

/** Durations in ns of `count` samples; every percentile is a sample (nearest rank), null where there is none. */
export interface Stats {
  readonly count: number;
  readonly min: number | null;
  readonly p50: number | null;
  readonly p90: number | null;
  readonly p99: number | null;
  readonly p999: number | null;
  readonly max: number | null;
  readonly mean: number | null;
  readonly sum: number | null;
}

/** SELECT list that gives the columns of Stats over `column` (NULLs are no samples). */
export function statsSql(column: string): string {
  return `count(${column}) AS samples, min(${column}) AS min, max(${column}) AS max, round(avg(${column}))::BIGINT AS mean,
    sum(${column})::DOUBLE AS sum,
    quantile_disc(${column}, 0.5) AS p50, quantile_disc(${column}, 0.9) AS p90,
    quantile_disc(${column}, 0.99) AS p99, quantile_disc(${column}, 0.999) AS p999`;
}

/** Reads the columns of statsSql. */
export function readStats(row: Row): Stats {
  return {
    count: numOrNull(row, 'samples') ?? 0,
    min: numOrNull(row, 'min'),
    p50: numOrNull(row, 'p50'),
    p90: numOrNull(row, 'p90'),
    p99: numOrNull(row, 'p99'),
    p999: numOrNull(row, 'p999'),
    max: numOrNull(row, 'max'),
    mean: numOrNull(row, 'mean'),
    sum: numOrNull(row, 'sum'),
  };
}

/** Columns of a table that has the figures of Stats, without the count. */
export const TIMES = ['min_ns', 'mean_ns', 'p50_ns', 'p90_ns', 'p99_ns', 'p99_9_ns', 'max_ns'] as const;

/** The cells of these columns. */
export function times(s: Stats): readonly CellValue[] {
  return [s.min, s.mean, s.p50, s.p90, s.p99, s.p999, s.max];
}
