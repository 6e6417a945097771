/** What of a line its row keeps in the common columns. */
export interface RowPlace {
  readonly line: number;
  readonly cpu: number;
  readonly tid: number;
  readonly flags: number;
  readonly tsLo: number;
  readonly tsHi: number;
}

/** What the front part of an event line says, filled by the scanners of the dialects; one object per reader. */
export class LineContext {
  /** 1-based line number. */
  line = 0;
  /** CPU; 0 where the line has none (`hasCpu`). */
  cpu = 0;
  hasCpu = true;
  tid = 0;
  /** Process id, -1 where the line does not tell. */
  tgid = -1;
  /** common_flags and common_preempt_count as in EventBatch.flags. */
  flags = NO_FLAGS;
  /** Stamp as two words. */
  tsLo = 0;
  tsHi = 0;
  /** Bytes of the task field, `comm-pid` or `comm  pid`, from its first byte that is no blank; empty where there is none. */
  taskFrom = 0;
  taskTo = 0;
  /** End of the comm within the task field. */
  commTo = 0;
  /** The task is the one that the CPU's line before had. */
  isTaskKnown = false;
  readonly taskMemory = new TaskMemory();
  /** Event name. */
  nameFrom = 0;
  nameTo = 0;
  /** System of the event (perf script); empty where the line does not tell. */
  systemFrom = 0;
  systemTo = 0;
  /** Where `[cpu]` stood in the line before, from its start. */
  cpuColumn = 0;
  /** First byte of the event's text (blanks may come before it). */
  textFrom = 0;
}

const SLOTS = 64;
const SLOT_BYTES = 64;

/**
 * The task fields that each CPU printed last, byte for byte: a CPU mostly goes on with the same task, and then nothing
 * of the field need be read again.
 */
export class TaskMemory {
  private readonly bytes = new Uint8Array(SLOTS * SLOT_BYTES);
  private readonly lengths = new Int32Array(SLOTS).fill(-1);
  /** tid, tgid, and taskFrom, taskTo, commTo from the field's start. */
  private readonly known = new Int32Array(SLOTS * 5);

  /** Fills the context where buf[from, to) is what the CPU printed last. */
  recall(buf: Uint8Array, from: number, to: number, cpu: number, context: LineContext): boolean {
    const slot = cpu & (SLOTS - 1);
    if (this.lengths[slot] !== to - from) return false;
    const { bytes, known } = this;
    // backwards: tasks differ at the end, the beginning is blanks
    for (let k = to - 1, at = slot * SLOT_BYTES + to - from - 1; k >= from; k--, at--) {
      if (buf[k] !== bytes[at]) return false;
    }
    context.tid = known[slot * 5]!;
    context.tgid = known[slot * 5 + 1]!;
    context.taskFrom = from + known[slot * 5 + 2]!;
    context.taskTo = from + known[slot * 5 + 3]!;
    context.commTo = from + known[slot * 5 + 4]!;
    context.isTaskKnown = true;
    return true;
  }

  /** Remembers what the context was read to from buf[from, to). */
  remember(buf: Uint8Array, from: number, to: number, cpu: number, context: LineContext): void {
    if (to - from > SLOT_BYTES) return;
    const slot = cpu & (SLOTS - 1);
    this.lengths[slot] = to - from;
    this.bytes.set(buf.subarray(from, to), slot * SLOT_BYTES);
    this.known[slot * 5] = context.tid;
    this.known[slot * 5 + 1] = context.tgid;
    this.known[slot * 5 + 2] = context.taskFrom - from;
    this.known[slot * 5 + 3] = context.taskTo - from;
    this.known[slot * 5 + 4] = context.commTo - from;
  }
}

/** EventBatch.flags of a line without them. */
export const NO_FLAGS = 0xffff;

/** How a line's name and text are to be understood. */
export type LineKind = 'event' | 'syscall-enter' | 'syscall-exit' | 'function' | 'stack' | 'record' | 'none';
