/** Threads and processes as the trace tells them. */
import type { Store } from '../store/db.js';
import type { TaskFacts } from './processes.js';

/** Reads the task table; where a thread had several names, the last one counts. */
export async function readTasks(store: Store): Promise<TaskFacts> {
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
  return { tgidOf: (tid) => tgids.get(tid) ?? null, commOf: (tid) => comms.get(tid) ?? null };
}
