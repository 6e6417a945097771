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
  /** Event name. */
  nameFrom = 0;
  nameTo = 0;
  /** System of the event (perf script); empty where the line does not tell. */
  systemFrom = 0;
  systemTo = 0;
  /** First byte of the event's text (blanks may come before it). */
  textFrom = 0;
}

/** EventBatch.flags of a line without them. */
export const NO_FLAGS = 0xffff;

/** How a line's name and text are to be understood. */
export type LineKind = 'event' | 'syscall-enter' | 'syscall-exit' | 'function' | 'stack' | 'record' | 'none';
