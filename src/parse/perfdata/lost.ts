/** Events that the kernel could not write: PERF_RECORD_LOST and PERF_RECORD_LOST_SAMPLES. */
import type { LostStretch } from '../model.js';

/** Stretches kept one by one; more are summed up, so that a hostile file cannot fill the memory. */
const MAX_STRETCHES = 100_000;

export interface LostLog {
  /** PERF_RECORD_LOST: `count` events between the record before it on that CPU and itself. */
  addRecord(cpu: number | null, fromNs: bigint | null, toNs: bigint | null, count: number): void;
  /** PERF_RECORD_LOST_SAMPLES: a total that perf adds at the end of the recording, one per event and CPU. */
  addTotal(count: number): void;
  /**
   * The two kinds count the same losses: the larger sum is right, never both (the last LOST records of a full buffer do
   * not fit either, which only the totals know).
   */
  list(): LostStretch[];
}

/** An empty log. */
export function makeLostLog(): LostLog {
  const stretches: LostStretch[] = [];
  let recorded = 0;
  let further = 0;
  let total = 0;
  return {
    addRecord(cpu, fromNs, toNs, count) {
      recorded += count;
      if (stretches.length < MAX_STRETCHES) stretches.push({ cpu, fromNs, toNs, count, source: 'perf-lost' });
      else further += count;
    },
    addTotal(count) {
      total += count;
    },
    list() {
      const rest = further + Math.max(0, total - recorded);
      const open = { cpu: null, fromNs: null, toNs: null };
      return rest > 0 ? [...stretches, { ...open, count: rest, source: 'perf-lost-samples' }] : [...stretches];
    },
  };
}
