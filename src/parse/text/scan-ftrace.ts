/**
 * The front of event lines of ftrace's trace and trace_pipe and of trace-cmd report (kernel/trace/trace_output.c:
 * trace_print_context; trace-cmd: tracecmd_show_data). Never cut by columns: long pids and times shift them.
 */
import { isDigit, readDecimal, readHex } from './cursor.js';
import type { Cursor } from './cursor.js';
import type { LineContext, LineKind } from './context.js';
import { NO_FLAGS } from './context.js';
import { startsWith } from './bytes.js';
import { flagsOfNumber, isFirstFlag, parseFlags } from './flags.js';
import type { StampReader } from './stamps.js';

const SPACE = 0x20;
const COLON = 0x3a;

/** `      CPU 0/KVM-99      (     97) [000] d..1.    16.869512: name…`; the flags, the tgid and the fraction may be missing. */
export function scanFtrace(cursor: Cursor, context: LineContext, stamps: StampReader): LineKind {
  const { end } = cursor;
  const from = cursor.pos;
  // most lines have the CPU where the one before had it
  const usual = from + context.cpuColumn;
  if (usual < end && scanCpu(cursor, usual, from, context, stamps)) return scanName(cursor, context);
  for (let open = from; open < end; open++) {
    if (!scanCpu(cursor, open, from, context, stamps)) continue;
    context.cpuColumn = open - from;
    return scanName(cursor, context);
  }
  cursor.pos = from;
  return 'none';
}

/** Whether `[cpu]` stands at `open`, with flags and a time behind and a task before it; the cursor ends behind the time. */
function scanCpu(cursor: Cursor, open: number, from: number, context: LineContext, stamps: StampReader): boolean {
  const { buf, end } = cursor;
  if (buf[open] !== 0x5b) return false;
  let pos = open + 1;
  let cpu = 0;
  while (pos < end && isDigit(buf[pos]!) && pos - open <= 5) cpu = cpu * 10 + buf[pos++]! - 0x30;
  if (buf[pos] !== 0x5d || pos === open + 1) return false;
  cursor.pos = pos + 1;
  if (!scanFlagsAndTime(cursor, context, stamps)) return false;
  context.isTaskKnown = false;
  if (!context.taskMemory.recall(buf, from, open, cpu, context)) {
    if (!scanTask(buf, from, open, context)) return false;
    context.taskMemory.remember(buf, from, open, cpu, context);
  }
  context.cpu = cpu & 0xffff;
  context.hasCpu = true;
  return true;
}

/** Behind the `]`: `[ flags][ time]:`; trace-cmd glues a time without fraction to the flags or to the `]`. */
function scanFlagsAndTime(cursor: Cursor, context: LineContext, stamps: StampReader): boolean {
  const { buf, end } = cursor;
  let pos = cursor.pos;
  context.flags = NO_FLAGS;
  if (buf[pos] === 0x2d && buf[pos + 1] === 0x30 && buf[pos + 2] === 0x78) {
    cursor.pos = pos + 3;
    if (!readHex(cursor)) return false;
    context.flags = flagsOfNumber(cursor.lo);
    pos = cursor.pos;
  } else if (buf[pos] === SPACE && isFirstFlag(buf[pos + 1]!)) {
    const from = pos + 1;
    pos = from;
    while (pos < end && buf[pos] !== SPACE && buf[pos] !== COLON && pos - from < 8) pos++;
    if (buf[pos] !== SPACE) pos = gluedTime(buf, from, end);
    context.flags = pos - from >= 4 ? parseFlags(buf, from, pos) : -1;
    if (context.flags < 0) return false;
  }
  while (pos < end && buf[pos] === SPACE) pos++;
  cursor.pos = pos;
  if (!stamps.read(cursor, context) || buf[cursor.pos] !== COLON) return false;
  cursor.pos++;
  return true;
}

/** `d..2.137238900749:` → where the time begins: after 5 columns, 4 where the fifth can be none and a digit follows. */
function gluedTime(buf: Uint8Array, from: number, end: number): number {
  let pos = from;
  while (pos < end && buf[pos] !== COLON && buf[pos] !== SPACE) pos++;
  return pos - from > 8 ? from + 5 : pos;
}

/** buf[from, to) = `comm-pid` with an optional `(tgid)`. The pid is what stands behind the last `-`. */
function scanTask(buf: Uint8Array, from: number, to: number, context: LineContext): boolean {
  let end = to;
  while (end > from && buf[end - 1] === SPACE) end--;
  context.tgid = -1;
  if (end > from && buf[end - 1] === 0x29) {
    let open = end - 1;
    while (open > from && buf[open] !== 0x28) open--;
    context.tgid = tgidOf(buf, open + 1, end - 1);
    end = open;
    while (end > from && buf[end - 1] === SPACE) end--;
  }
  let start = from;
  while (start < end && buf[start] === SPACE) start++;
  let dash = end - 1;
  let tid = 0;
  let scale = 1;
  while (dash > start && isDigit(buf[dash]!)) {
    tid += (buf[dash--]! - 0x30) * scale;
    scale *= 10;
  }
  if (dash === end - 1 || buf[dash] !== 0x2d || tid > 0x7fffffff) return false;
  context.tid = tid;
  context.taskFrom = start;
  context.taskTo = end;
  context.commTo = dash;
  return true;
}

function tgidOf(buf: Uint8Array, from: number, to: number): number {
  let value = -1;
  for (let k = from; k < to; k++) {
    if (buf[k] === SPACE) continue;
    if (!isDigit(buf[k]!)) return -1;
    value = (value < 0 ? 0 : value) * 10 + buf[k]! - 0x30;
  }
  return value > 0x7fffffff ? -1 : value;
}

/** The event's name behind the time, and what kind of line it is. */
export function scanName(cursor: Cursor, context: LineContext): LineKind {
  const { buf, end } = cursor;
  let pos = cursor.pos;
  while (pos < end && buf[pos] === SPACE) pos++;
  // trace-cmd report --ts-diff
  if (buf[pos] === 0x28 && buf[pos + 1] === 0x2b) {
    while (pos < end && buf[pos] !== 0x29) pos++;
    pos++;
    while (pos < end && buf[pos] === SPACE) pos++;
  }
  const from = pos;
  context.systemFrom = context.systemTo = from;
  while (pos < end && buf[pos] !== COLON && buf[pos] !== SPACE && buf[pos] !== 0x28) pos++;
  context.nameFrom = from;
  context.nameTo = pos;
  context.textFrom = pos;
  if (pos === from) return 'none';
  if (pos >= end) return 'none';
  const byte = buf[pos]!;
  if (byte === COLON) {
    context.textFrom = pos + 1;
    return 'event';
  }
  if (byte === 0x28) {
    context.textFrom = pos + 1;
    return buf[end - 1] === 0x29 && startsWith(buf, from, end, 'sys_') ? 'syscall-enter' : 'none';
  }
  return scanSpacedName(buf, from, pos, end, context);
}

/** A name that a blank ends: `sys_ioctl -> 0x5`, `func <-parent`, `<stack trace>`, `# 4 buf: 05 06`. */
function scanSpacedName(buf: Uint8Array, from: number, to: number, end: number, context: LineContext): LineKind {
  if (startsWith(buf, to, end, ' -> ') && startsWith(buf, from, end, 'sys_')) {
    context.textFrom = to + 4;
    return 'syscall-exit';
  }
  if (startsWith(buf, from, end, '<stack trace>') || startsWith(buf, from, end, '<user stack trace>')) return 'stack';
  if (startsWith(buf, to, end, ' <-')) return 'function';
  // trace_marker_raw: `# 4030201 buf: 05 06`
  return buf[from] === 0x23 ? 'record' : 'none';
}

/** Latency format: `     bash-417     1..... 9623us : name`, trace-cmd report -l: `  ls-6757    0.....  1648.042057: name`. */
export function scanLatency(cursor: Cursor, context: LineContext, stamps: StampReader): LineKind {
  const { buf, end } = cursor;
  const from = cursor.pos;
  for (let dash = from; dash < end; dash++) {
    if (buf[dash] !== 0x2d || !isDigit(buf[dash + 1]!)) continue;
    let pos = dash + 1;
    while (pos < end && isDigit(buf[pos]!)) pos++;
    const taskTo = pos;
    if (buf[pos] !== SPACE) continue;
    while (pos < end && buf[pos] === SPACE) pos++;
    cursor.pos = pos;
    if (!readDecimal(cursor) || !scanLatencyTime(cursor, context, stamps, pos)) continue;
    const time = cursor.pos;
    if (!scanTask(buf, from, taskTo, context)) continue;
    cursor.pos = time;
    return scanName(cursor, context);
  }
  cursor.pos = from;
  return 'none';
}

/** Behind the CPU's digits: flags, then `9623us!: ` or a stamp as elsewhere. */
function scanLatencyTime(cursor: Cursor, context: LineContext, stamps: StampReader, cpuFrom: number): boolean {
  const { buf, end } = cursor;
  const flagsFrom = cursor.pos;
  const cpu = cursor.lo;
  if (!isFirstFlag(buf[flagsFrom]!) || flagsFrom - cpuFrom > 5) return false;
  let pos = flagsFrom;
  while (pos < end && buf[pos] !== SPACE) pos++;
  if (pos - flagsFrom < 4 || pos - flagsFrom > 8) return false;
  context.flags = parseFlags(buf, flagsFrom, pos);
  if (context.flags < 0) return false;
  while (pos < end && buf[pos] === SPACE) pos++;
  cursor.pos = pos;
  if (readDecimal(cursor) && buf[cursor.pos] === 0x75 && buf[cursor.pos + 1] === 0x73) {
    // µs since the buffer's start
    stamps.fromMicros((cursor.hi >>> 0) * 4294967296 + (cursor.lo >>> 0), context);
    // us, then the mark of a delay: blank + ! # * @ $
    cursor.pos += 3;
  } else {
    cursor.pos = pos;
    if (!stamps.read(cursor, context)) return false;
  }
  if (buf[cursor.pos] !== COLON) return false;
  context.cpu = cpu & 0xffff;
  context.hasCpu = true;
  cursor.pos++;
  return true;
}
