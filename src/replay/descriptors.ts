/** File descriptors over time: which number meant what in which process, until it was closed or the process ended. */
import type { Ending, FdRecord } from './facts.js';
import type { ProcessOf } from './processes.js';

export interface Descriptor<Vm> {
  readonly record: FdRecord;
  readonly vm: Vm;
  /** When it was closed or its process ended; NaN: not seen. */
  readonly goneTs: number;
}

/** `Vm`: what stands for a VM (identity.ts). */
export interface Descriptors<Vm> {
  add(process: number, record: FdRecord, vm: Vm): void;
  /** What the number means in that process at `ts`, null where that is not known. */
  at(process: number, fd: number, ts: number): Descriptor<Vm> | null;
  /** First end of that process after `ts`, NaN where none was seen. */
  endOfProcess(process: number, ts: number): number;
  /** Whether a VM has descriptors beside its own. */
  hasMore(vm: Vm): boolean;
}

function keyOf(process: number, fd: number): string {
  return `${process}:${fd}`;
}

/**
 * Makes an empty set from what is known to end; records are added in order of time. `isLeader`: the thread is known to
 * be the one that gives its process the number.
 */
export function makeDescriptors<Vm>(
  endings: readonly Ending[],
  processOf: ProcessOf,
  isLeader: (tid: number) => boolean,
): Descriptors<Vm> {
  const open = new Map<string, Descriptor<Vm>[]>();
  const closings = new Map<string, number[]>();
  for (const { tid, fd, ts } of endings) {
    // Other threads come and go; with its leader a process ends.
    if (Number.isNaN(fd) && !isLeader(tid)) continue;
    const key = Number.isNaN(fd) ? String(tid) : keyOf(processOf(tid, ts), fd);
    const times = closings.get(key) ?? [];
    times.push(ts);
    closings.set(key, times);
  }
  const firstAfter = (key: string, ts: number): number => closings.get(key)?.find((t) => t > ts) ?? NaN;
  const endOfProcess = (process: number, ts: number): number => firstAfter(String(process), ts);
  return {
    endOfProcess,
    add(process, record, vm) {
      const key = keyOf(process, record.fd);
      const ends = [firstAfter(key, record.ts), endOfProcess(process, record.ts)].filter((t) => !Number.isNaN(t));
      const list = open.get(key) ?? [];
      list.push({ record, vm, goneTs: ends.length > 0 ? Math.min(...ends) : NaN });
      open.set(key, list);
    },
    at(process, fd, ts) {
      const found = open.get(keyOf(process, fd))?.findLast((d) => d.record.ts <= ts);
      return found && !(found.goneTs <= ts) ? found : null;
    },
    hasMore(vm) {
      for (const list of open.values()) if (list.some((d) => d.vm === vm && d.record.what !== 'vm')) return true;
      return false;
    },
  };
}
