/**
 * Events that are missing without a marker (run-phase.ts) become stretches of the table `lost`, so that rules know of
 * them: which CPU lost them, and how many, nobody can say.
 */
import type { Store } from '../store/db.js';
import type { Gap } from './state.js';

/** lost.source of these stretches: an event came that cannot follow the one before it. */
const SOURCE = 'sequence';
const ROWS_A_STATEMENT = 1000;

/** Takes the stretches of an earlier replay out again. */
export async function forgetGaps(store: Store): Promise<void> {
  await store.run(`DELETE FROM lost WHERE source = '${SOURCE}'`);
}

/** Gaps of vCPUs; those that overlap as one. */
function joinGaps(gaps: readonly Gap[]): Gap[] {
  const joined: Gap[] = [];
  for (const gap of gaps.filter(({ isVcpu }) => isVcpu).sort((a, b) => a.traceId - b.traceId || a.from - b.from)) {
    const last = joined.at(-1);
    if (last?.traceId === gap.traceId && gap.from <= last.to)
      joined[joined.length - 1] = { ...last, to: Math.max(last.to, gap.to) };
    else joined.push(gap);
  }
  return joined;
}

/** Adds them to `lost`; their times are in ns after `baseNs`. */
export async function writeGaps(store: Store, gaps: readonly Gap[], baseNs: bigint): Promise<void> {
  const joined = joinGaps(gaps);
  for (let at = 0; at < joined.length; at += ROWS_A_STATEMENT) {
    const rows = joined.slice(at, at + ROWS_A_STATEMENT).map(({ traceId, from, to }) => {
      const [fromNs, toNs] = [from, to].map((ns) => baseNs + BigInt(Math.round(ns)));
      return `(${traceId}, NULL, ${fromNs}, ${toNs}, NULL, '${SOURCE}')`;
    });
    await store.run(`INSERT INTO lost VALUES ${rows.join(', ')}`);
  }
}
