/** How large conversions are, and how many of them one request could have done together. */
import { formatCount } from '../base/units.js';
import { NEIGHBOUR_RUNS } from '../replay/neighbour-runs.js';
import { loadRules } from '../replay/rules.js';
import type { Store } from '../store/db.js';
import { num } from './rows.js';

/** Conversions of 2^power up to 2^(power + 1) - 1 pages. */
export interface SizeBucket {
  readonly power: number;
  readonly count: number;
  readonly pages: number;
  /** Of them part of a run that one request could have done. */
  readonly mergeable: number;
}

export interface Sizes {
  readonly buckets: readonly SizeBucket[];
  readonly count: number;
  readonly pages: number;
  readonly mergeable: number;
  /** Runs that the mergeable ones make up: so many requests would have done. */
  readonly runs: number;
  /** Conversions whose size is not known; in no bucket. */
  readonly unknown: number;
  /** The parameters of the rule small-conversions that decided. */
  readonly limits: { readonly requests: number; readonly pages: number; readonly gapNs: number };
}

/** `1`, `2-3`, `512-1,023`: the sizes of a bucket in pages. */
export function sizeName({ power }: SizeBucket): string {
  const [least, most] = [2 ** power, 2 ** (power + 1) - 1];
  return least === most ? formatCount(least) : `${formatCount(least)}-${formatCount(most)}`;
}

function readLimits(): Sizes['limits'] {
  const params = new Map(
    loadRules()
      .find((rule) => rule.name === 'small-conversions')!
      .params.map((p) => [p.name, p.value]),
  );
  return { requests: params.get('requests')!, pages: params.get('pages')!, gapNs: params.get('gap_ns')! };
}

/** Sizes of the conversions of a query; runs are looked for among all conversions, as the rule small-conversions does. */
export async function readSizes(store: Store, from: string): Promise<Sizes> {
  const limits = readLimits();
  await store.run(NEIGHBOUR_RUNS);
  const rows = await store.rows(`
    WITH placed AS (
      SELECT conversion_id, struct_pack(vm_id, tid, direction, origin, run) AS run,
        count(*) OVER (PARTITION BY vm_id, tid, direction, origin, run) AS length
      FROM neighbour_runs(${limits.pages}, ${limits.gapNs})),
    mergeable AS (SELECT * FROM placed WHERE length >= ${limits.requests}),
    sized AS (SELECT conversion_id, (size // 4096)::BIGINT AS pages, run FROM (${from}) LEFT JOIN mergeable USING (conversion_id))
    SELECT floor(log2(greatest(pages, 1)) + 1e-9)::INTEGER AS power, count(*) AS n, coalesce(sum(pages), 0)::BIGINT AS pages,
      count(run) AS mergeable, (SELECT count(DISTINCT run) FROM sized) AS runs
    FROM sized GROUP BY power ORDER BY power NULLS LAST`);
  const known = rows.filter((row) => row['power'] !== null);
  const buckets = known.map((row) => ({
    power: num(row, 'power'),
    count: num(row, 'n'),
    pages: num(row, 'pages'),
    mergeable: num(row, 'mergeable'),
  }));
  const sum = (of: (bucket: SizeBucket) => number): number => buckets.reduce((all, bucket) => all + of(bucket), 0);
  const all = rows.reduce((total, row) => total + num(row, 'n'), 0);
  const count = sum((b) => b.count);
  return {
    buckets,
    count,
    pages: sum((b) => b.pages),
    mergeable: sum((b) => b.mergeable),
    runs: rows.length === 0 ? 0 : num(rows[0]!, 'runs'),
    unknown: all - count,
    limits,
  };
}
