/** What the writers of the result tables share: the results, the way into a table, absolute times. */
import { openRowWriter, type RowWriter } from '../store/bulk.js';
import type { Store } from '../store/db.js';
import { RESULT_TABLES } from '../store/schema.js';
import type { Locator } from './locator.js';
import type { Facts } from './facts.js';
import type { GmemIndex } from './gmems.js';
import type { TaskFacts } from './processes.js';
import type { References } from './references.js';
import type { Certainty } from './identity.js';
import { lostWithin, type Replay, type VmState } from './state.js';
import type { Statement } from './vocabulary.js';

export interface Results {
  readonly replay: Replay;
  readonly references: References;
  readonly tasks: TaskFacts;
  readonly statements: readonly Statement[];
  readonly baseNs: bigint;
  readonly facts: Facts;
}

export interface Tables extends Results {
  readonly locator: Locator;
  readonly gmems: GmemIndex;
  readonly store: Store;
  /** Absolute ns of a relative time, null for NaN; a bigint only where a number would not be exact (104 days and more). */
  readonly ns: (relative: number) => number | bigint | null;
}

/** Opens a table, lets `fill` add its rows, closes it. */
export function writeTable(store: Store, name: string, fill: (writer: RowWriter) => void): void {
  const writer = openRowWriter(
    store,
    RESULT_TABLES.find((t) => t.name === name)!,
  );
  fill(writer);
  writer.close();
}

/**
 * Whether a reference went only when the kernel dropped everything: after its VM's last run, or with its end (reference
 * chapter 07 §7). A holder that was still alive let go by itself.
 */
export function isTeardown(
  { replay, facts }: Results,
  vm: VmState,
  { tid, droppedNs }: { readonly tid: number; readonly droppedNs: number },
): boolean {
  if (replay.identity.endOfThread(tid) > droppedNs) return false;
  return droppedNs > vm.lastRunNs || droppedNs >= endOf(vm, facts);
}

/**
 * How sure it is that something was held from `fromNs` to `toNs` (NaN: to the end). Its end may be among lost events, or
 * ends not recorded at all (`showsEnds`): that it still is, is a guess then; an end that was seen may be another's.
 */
export function certaintyOfHold({ replay }: Results, fromNs: number, toNs: number, showsEnds: boolean): Certainty {
  const isOpen = Number.isNaN(toNs);
  if (isOpen && !showsEnds) return 'assumed';
  if (!lostWithin(replay, fromNs, isOpen ? Infinity : toNs)) return 'observed';
  return isOpen ? 'assumed' : 'inferred';
}

/** End of a VM: its own event, or the end of the last of its vCPU threads; NaN where neither was seen. */
export function endOf(vm: VmState, facts: Facts): number {
  if (!Number.isNaN(vm.identity.endTs)) return vm.identity.endTs;
  const ends = [...vm.identity.vcpus.values()].map((v) => facts.threads.get(v.tid)?.endTs ?? NaN);
  return ends.length > 0 && ends.every((t) => !Number.isNaN(t)) ? Math.max(...ends) : NaN;
}
