/** Threads, their processes and names, from COMM, FORK, EXIT and MMAP records and from the samples themselves. */
import type { TaskSighting } from '../model.js';

/** pid_max of 64-bit kernels (include/linux/threads.h: PID_MAX_LIMIT): tids are below. */
const PID_MAX_LIMIT = 4 * 1024 * 1024;
/** Records kept; a trace of a day of forks has fewer. */
const MAX_SIGHTINGS = 1_000_000;

interface Sighting {
  readonly tid: number;
  readonly tgid: number;
  /** The new name; null where only the process is known; the parent's tid where the name is the parent's. */
  readonly comm: string | number | null;
  readonly timeNs: bigint;
}

export interface TaskLog {
  /** A sample of thread `tid` of process `pid` at the time (hi, lo). Hot: does nothing where that is known. */
  sample(tid: number, pid: number, timeLo: number, timeHi: number): void;
  /** A thread seen in a record; time 0 = synthesized, true from the start. */
  seen(tid: number, pid: number, timeNs: bigint): void;
  /** PERF_RECORD_COMM. */
  named(tid: number, pid: number, comm: string, timeNs: bigint): void;
  /** PERF_RECORD_FORK: the child has its parent's name until it takes another. */
  forked(tid: number, pid: number, parentTid: number, timeNs: bigint): void;
  /** Sightings left out because there were too many. */
  readonly dropped: number;
  /** Every change of a thread's process or name in order of time; `names` are used for threads that no record names. */
  list(names: ReadonlyMap<number, string>): TaskSighting[];
}

/** An empty log. */
export function makeTaskLog(): TaskLog {
  const sightings: Sighting[] = [];
  let dropped = 0;
  // Process of each thread plus 1, so that 0 means unknown and process 0 has a value.
  let processes = new Int32Array(4096);

  function add(tid: number, tgid: number, comm: string | number | null, timeNs: bigint): void {
    if (tid < 0 || tgid < 0) return;
    if (sightings.length < MAX_SIGHTINGS) sightings.push({ tid, tgid, comm, timeNs });
    else dropped++;
  }

  function remember(tid: number, pid: number, timeNs: bigint): boolean {
    if (tid < 0 || tid >= PID_MAX_LIMIT || pid < 0) return false;
    if (tid >= processes.length) {
      let size = processes.length;
      while (size <= tid) size *= 2;
      const bigger = new Int32Array(size);
      bigger.set(processes);
      processes = bigger;
    }
    if (processes[tid] === pid + 1) return true;
    const known = processes[tid] !== 0;
    processes[tid] = pid + 1;
    // The first process that is seen was the thread's from the start; only a change has a time.
    add(tid, pid, null, known ? timeNs : 0n);
    return true;
  }

  return {
    sample(tid, pid, timeLo, timeHi) {
      if (tid >= 0 && tid < processes.length && processes[tid] === pid + 1) return;
      remember(tid, pid, (BigInt(timeHi) << 32n) | BigInt(timeLo >>> 0));
    },
    seen: (tid, pid, timeNs) => {
      remember(tid, pid, timeNs);
    },
    named: (tid, pid, comm, timeNs) => add(tid, pid, comm, timeNs),
    forked: (tid, pid, parentTid, timeNs) => add(tid, pid, parentTid, timeNs),
    get dropped() {
      return dropped;
    },
    list: (names) => listChanges(sightings, names),
  };
}

function listChanges(sightings: Sighting[], names: ReadonlyMap<number, string>): TaskSighting[] {
  // The sort is stable: sightings of one time keep the order of the file.
  sightings.sort((a, b) => (a.timeNs < b.timeNs ? -1 : a.timeNs > b.timeNs ? 1 : 0));
  const firstRecord = new Map<number, Sighting>();
  for (const one of sightings) if (one.comm !== null && !firstRecord.has(one.tid)) firstRecord.set(one.tid, one);
  const current = new Map<number, { readonly task: TaskSighting; readonly index: number }>();
  const result: TaskSighting[] = [];
  for (const one of sightings) {
    const { tid, tgid, timeNs } = one;
    const first = firstRecord.get(tid);
    // What a sample tells holds from the start only of a thread that was there at the start.
    if (timeNs === 0n && one.comm === null && first && (first.timeNs === 0n || typeof first.comm === 'number'))
      continue;
    const { task: before, index } = current.get(tid) ?? { task: undefined, index: -1 };
    const comm = nameAfter(one, before, current, first ? undefined : names.get(tid));
    if (before?.tgid === tgid && before.comm === comm) continue;
    const next = { tid, tgid, comm, fromNs: timeNs === 0n ? null : timeNs };
    // Of several sightings of one time (perf writes FORK and COMM of every task that runs at the start) the last holds.
    const sameTime = before !== undefined && before.fromNs === next.fromNs;
    if (sameTime) result[index] = next;
    else result.push(next);
    current.set(tid, { task: next, index: sameTime ? index : result.length - 1 });
  }
  for (const [tid, comm] of names) {
    if (!current.has(tid)) result.push({ tid, tgid: null, comm, fromNs: null });
  }
  return result;
}

function nameAfter(
  { tid, tgid, comm }: Sighting,
  before: TaskSighting | undefined,
  current: ReadonlyMap<number, { readonly task: TaskSighting }>,
  saved: string | undefined,
): string | null {
  if (tid === 0) return '<idle>';
  if (typeof comm === 'number') return current.get(comm)?.task.comm ?? null;
  return comm ?? (before?.tgid === tgid ? before.comm : null) ?? saved ?? null;
}
