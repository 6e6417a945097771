/** Threads and processes as the trace tells them. */
import type { Store } from '../store/db.js';
import { tidOf, type Lives } from './lives.js';
import type { TaskFacts } from './processes.js';

interface Sighting {
  readonly tgid: number | null;
  readonly comm: string | null;
  /** From the start: -Infinity. */
  readonly from: number;
}

/**
 * Reads the task table; where a thread had several names, the last one counts. `baseNs`: the analysis' start. What is
 * asked and answered are keys of threads (lives.ts).
 */
export async function readTasks(store: Store, baseNs: bigint, lives: Lives): Promise<TaskFacts> {
  const rows = await store.rows(
    `SELECT tid, tgid, comm, coalesce((from_ns - ${baseNs})::DOUBLE, '-inf'::DOUBLE) AS from_ns FROM task
     ORDER BY tid, from_ns, trace_id`,
  );
  const sightings = new Map<number, Sighting[]>();
  for (const row of rows) {
    const tid = row['tid'] as number;
    const mine = sightings.get(tid) ?? [];
    const { tgid, comm, from_ns: from } = row;
    mine.push({ tgid: tgid as number | null, comm: comm as string | null, from: from as number });
    sightings.set(tid, mine);
  }
  const lastOf = (key: number, what: 'tgid' | 'comm'): Sighting | undefined => {
    const until = lives.untilOf(key);
    return sightings.get(tidOf(key))?.findLast((one) => one.from < until && one[what] !== null);
  };
  const leaderOf = ({ tgid, from }: Sighting, key: number): number =>
    lives.keyOf(tgid!, Math.max(from, lives.sinceOf(key)));
  const changers = new Map([...sightings].filter(([, mine]) => new Set(mine.map(({ tgid }) => tgid)).size > 1));
  return {
    tgidOf(key) {
      const last = lastOf(key, 'tgid');
      return last ? leaderOf(last, key) : null;
    },
    tgidAt(key, ts) {
      const mine = changers.get(tidOf(key))?.filter(({ tgid }) => tgid !== null);
      const then = mine?.findLast(({ from }) => from <= ts) ?? mine?.[0];
      return then ? leaderOf(then, key) : null;
    },
    commOf: (key) => lastOf(key, 'comm')?.comm ?? null,
  };
}
