/**
 * Thread numbers are used again: by the next VM's threads, too. Inside the replay a thread is known by its key, which is
 * its number for its first life in the trace, and the number plus a multiple of 2^22 for later ones. A life ends with
 * its death; the next begins with what only a living thread does.
 */
import type { Store } from '../store/db.js';
import { KIND } from './kinds.js';

/** One more than the greatest thread number (include/linux/threads.h, PID_MAX_LIMIT). */
const PID_MAX_LIMIT = 2 ** 22;

/** A dying thread still closes its files and is switched in for that, but enters no system call and no guest. */
const OF_THE_LIVING = [
  KIND.task_new,
  KIND.ioctl_enter,
  KIND.fallocate_enter,
  KIND.discard_enter,
  KIND.guest_entry,
  KIND.user_exit,
];

export interface Lives {
  /** Numbers that several threads had. */
  readonly reused: readonly number[];
  /** Key of the thread that has this number at `ts`, ns relative to the analysis' start. */
  keyOf(tid: number, ts: number): number;
  /** When the thread got its number from another one, -Infinity where it had it first. */
  sinceOf(key: number): number;
  /** When the number went to the next thread, Infinity where it never did. */
  untilOf(key: number): number;
}

/** The number of a thread by its key. NaN for NaN. */
export function tidOf(key: number): number {
  return key % PID_MAX_LIMIT;
}

interface Death {
  readonly at: number;
  /** First sign of life of the number after it. */
  readonly next: number;
}

async function readDeaths(store: Store, baseNs: bigint): Promise<Map<number, Death[]>> {
  const { task_exit, switch_out, switch_in } = KIND;
  const rows = await store.rows(`
    WITH death AS (SELECT tid, ts_ns, kind = ${switch_out} AS is_last FROM memory_event
      WHERE kind = ${task_exit} OR (kind = ${switch_out} AND value = 3))
    SELECT d.tid, (d.ts_ns - ${baseNs})::DOUBLE AS at, (min(s.ts_ns) - ${baseNs})::DOUBLE AS next
    FROM death d JOIN memory_event s ON s.tid = d.tid AND s.ts_ns > d.ts_ns
      AND (s.kind IN (${OF_THE_LIVING.join(', ')}) OR (d.is_last AND s.kind = ${switch_in}))
    GROUP BY d.tid, d.ts_ns ORDER BY d.tid, d.ts_ns`);
  const deaths = new Map<number, Death[]>();
  for (const row of rows) {
    const tid = row['tid'] as number;
    deaths.set(tid, [...(deaths.get(tid) ?? []), { at: row['at'] as number, next: row['next'] as number }]);
  }
  return deaths;
}

/** Reads the lives of all threads from memory_event. `baseNs`: the analysis' start. */
export async function readLives(store: Store, baseNs: bigint): Promise<Lives> {
  const starts = new Map<number, number[]>();
  for (const [tid, deaths] of await readDeaths(store, baseNs)) {
    // exit and last switch are one death: the number is free after the second
    const last = deaths.filter(({ next }, k) => (deaths[k + 1]?.at ?? Infinity) >= next);
    starts.set(
      tid,
      last.map(({ next }) => next),
    );
  }
  return {
    reused: [...starts.keys()],
    keyOf(tid, ts) {
      const mine = starts.get(tid);
      if (!mine) return tid;
      let life = 0;
      while (life < mine.length && mine[life]! <= ts) life++;
      return tid + life * PID_MAX_LIMIT;
    },
    sinceOf: (key) => starts.get(tidOf(key))?.[Math.floor(key / PID_MAX_LIMIT) - 1] ?? -Infinity,
    untilOf: (key) => starts.get(tidOf(key))?.[Math.floor(key / PID_MAX_LIMIT)] ?? Infinity,
  };
}
