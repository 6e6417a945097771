/** Names of threads at a time, from the `task` table. */
import type { Store } from '../../store/db.js';
import { bigOrNull, num, numOrNull, textOrNull } from '../rows.js';

export interface TaskName {
  readonly comm: string | null;
  readonly tgid: number | null;
}

interface Sighting extends TaskName {
  readonly fromNs: bigint | null;
  readonly toNs: bigint | null;
}

const NOBODY: TaskName = { comm: null, tgid: null };
const IDLE: TaskName = { comm: '<idle>', tgid: null };

export type TaskLookup = (traceId: number, tid: number, tsNs: bigint) => TaskName;

/** Reads all names at once: there are as many as threads, not as events. */
export async function readTasks(store: Store): Promise<TaskLookup> {
  const rows = await store.rows(
    'SELECT * FROM task ORDER BY trace_id, tid, from_ns NULLS FIRST, to_ns NULLS LAST, comm, tgid',
  );
  const known = new Map<string, Sighting[]>();
  for (const row of rows) {
    const key = `${num(row, 'trace_id')}/${num(row, 'tid')}`;
    const sighting: Sighting = {
      comm: textOrNull(row, 'comm'),
      tgid: numOrNull(row, 'tgid'),
      fromNs: bigOrNull(row, 'from_ns'),
      toNs: bigOrNull(row, 'to_ns'),
    };
    const list = known.get(key);
    if (list) list.push(sighting);
    else known.set(key, [sighting]);
  }
  return (traceId, tid, tsNs) => {
    if (tid === 0) return IDLE;
    const list = known.get(`${traceId}/${tid}`);
    return list ? nameAt(list, tsNs) : NOBODY;
  };
}

/** The last name known at `tsNs`; before the first sighting the first name: a thread rarely changes it. */
function nameAt(list: readonly Sighting[], tsNs: bigint): TaskName {
  let comm: string | null = null;
  let tgid: number | null = null;
  for (const sighting of list) {
    const begun = sighting.fromNs === null || sighting.fromNs <= tsNs;
    if (begun || comm === null) comm = sighting.comm ?? comm;
    if (begun || tgid === null) tgid = sighting.tgid ?? tgid;
  }
  return { comm, tgid };
}
