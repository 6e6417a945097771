/** Threads and processes as the trace tells them. */
import type { Store } from '../store/db.js';
import type { TaskFacts } from './processes.js';

interface Life {
  readonly tgid: number;
  readonly from: number;
}

/** Reads the task table; where a thread had several names, the last one counts. `baseNs`: the analysis' start. */
export async function readTasks(store: Store, baseNs: bigint): Promise<TaskFacts> {
  const rows = await store.rows(
    'SELECT tid, max(tgid) AS tgid, last(comm ORDER BY from_ns NULLS FIRST) AS comm FROM task GROUP BY tid ORDER BY tid',
  );
  const tgids = new Map<number, number>();
  const comms = new Map<number, string>();
  for (const row of rows) {
    const tid = row['tid'] as number;
    if (row['tgid'] !== null) tgids.set(tid, row['tgid'] as number);
    if (row['comm'] !== null) comms.set(tid, row['comm'] as string);
  }
  const lives = await readLives(store, baseNs);
  return {
    tgidOf: (tid) => tgids.get(tid) ?? null,
    tgidAt(tid, ts) {
      const mine = lives.get(tid);
      return mine ? (mine.findLast((life) => life.from <= ts) ?? mine[0]!).tgid : null;
    },
    commOf: (tid) => comms.get(tid) ?? null,
  };
}

/** Thread numbers that several processes had one after the other. */
async function readLives(store: Store, baseNs: bigint): Promise<Map<number, Life[]>> {
  const rows = await store.rows(
    `SELECT tid, tgid, coalesce((from_ns - ${baseNs})::DOUBLE, '-inf'::DOUBLE) AS from_ns FROM task
     WHERE tgid IS NOT NULL AND tid IN (SELECT tid FROM task GROUP BY tid HAVING count(DISTINCT tgid) > 1)
     ORDER BY tid, from_ns`,
  );
  const lives = new Map<number, Life[]>();
  for (const row of rows) {
    const tid = row['tid'] as number;
    const mine = lives.get(tid) ?? [];
    mine.push({ tgid: row['tgid'] as number, from: row['from_ns'] as number });
    lives.set(tid, mine);
  }
  return lives;
}
