/**
 * The front of event lines of perf script (tools/perf/builtin-script.c: perf_sample__fprintf_start): comm, tid or
 * pid/tid, `[cpu]`, time, event. Each but the time and the event may be missing (`-F`, recordings of single tasks).
 */
import { isDigit } from './cursor.js';
import type { Cursor } from './cursor.js';
import type { LineContext, LineKind } from './context.js';
import { NO_FLAGS } from './context.js';
import type { StampReader } from './stamps.js';

const SPACE = 0x20;
const TAB = 0x09;
const COLON = 0x3a;

function isBlank(byte: number): boolean {
  return byte === SPACE || byte === TAB;
}

export function scanScript(cursor: Cursor, context: LineContext, stamps: StampReader): LineKind {
  const { buf, end } = cursor;
  const from = cursor.pos;
  // a frame of a call chain begins with a TAB or many blanks and an address; a stamp has to be found first
  for (let pos = from; pos < end; pos++) {
    if (!isDigit(buf[pos]!) || (pos > from && !isBlank(buf[pos - 1]!))) continue;
    cursor.pos = pos;
    let dot = pos;
    while (dot < end && isDigit(buf[dot]!)) dot++;
    if (buf[dot] !== 0x2e || !isDigit(buf[dot + 1]!)) {
      pos = dot;
      continue;
    }
    if (!stamps.read(cursor, context) || buf[cursor.pos] !== COLON || !isBlank(buf[cursor.pos + 1] ?? SPACE)) {
      pos = dot;
      continue;
    }
    const time = cursor.pos + 1;
    scanFront(buf, from, pos, context);
    cursor.pos = time;
    return scanEvent(cursor, context);
  }
  return 'none';
}

/** buf[from, to) = `comm tid [cpu] `, right to left. */
function scanFront(buf: Uint8Array, from: number, to: number, context: LineContext): void {
  context.flags = NO_FLAGS;
  context.tgid = -1;
  context.tid = 0;
  context.cpu = 0;
  context.hasCpu = false;
  let end = blanksOff(buf, from, to);
  for (let tokens = 0; tokens < 4 && end > from; tokens++) {
    let start = end;
    while (start > from && !isBlank(buf[start - 1]!)) start--;
    if (buf[start] === 0x5b && isDigit(buf[start + 1]!)) {
      let cpu = 0;
      for (let k = start + 1; k < end && isDigit(buf[k]!); k++) cpu = cpu * 10 + buf[k]! - 0x30;
      context.cpu = cpu & 0xffff;
      context.hasCpu = true;
      end = blanksOff(buf, from, start);
      break;
    }
    // without [cpu] the token at the right is the tid; a wall-clock date (tod) has - and : in it
    if (readTid(buf, start, end, null)) break;
    end = blanksOff(buf, from, start);
  }
  let start = end;
  while (start > from && !isBlank(buf[start - 1]!)) start--;
  context.taskTo = end;
  if (!readTid(buf, start, end, context)) {
    context.taskFrom = context.taskTo = context.commTo = from;
    return;
  }
  context.commTo = blanksOff(buf, from, start);
  let task = from;
  while (task < context.commTo && isBlank(buf[task]!)) task++;
  context.taskFrom = task === context.commTo ? start : task;
  if (task === context.commTo) context.commTo = start;
}

function blanksOff(buf: Uint8Array, from: number, to: number): number {
  while (to > from && isBlank(buf[to - 1]!)) to--;
  return to;
}

/** `312` or `310/312` (pid/tid); -1 is perf's unknown tid. */
function readTid(buf: Uint8Array, from: number, to: number, context: LineContext | null): boolean {
  let value = 0;
  let tgid = -1;
  if (from >= to) return false;
  for (let k = from; k < to; k++) {
    const byte = buf[k]!;
    if (byte === 0x2f && k > from && tgid < 0) {
      tgid = value;
      value = 0;
    } else if (isDigit(byte)) value = value * 10 + byte - 0x30;
    else return false;
  }
  if (value > 0x7fffffff) return false;
  if (context) {
    context.tid = value;
    context.tgid = tgid;
  }
  return true;
}

/** `[period] system:event: text`; the cursor stands behind the time. */
function scanEvent(cursor: Cursor, context: LineContext): LineKind {
  const { buf, end } = cursor;
  let pos = cursor.pos;
  for (let tokens = 0; tokens < 2; tokens++) {
    while (pos < end && isBlank(buf[pos]!)) pos++;
    const from = pos;
    let colon = -1;
    while (pos < end && !isBlank(buf[pos]!)) {
      if (buf[pos] === COLON && colon < 0) colon = pos;
      pos++;
    }
    if (pos > from && buf[pos - 1] === COLON) {
      const hasSystem = colon < pos - 1;
      context.systemFrom = from;
      context.systemTo = hasSystem ? colon : from;
      context.nameFrom = hasSystem ? colon + 1 : from;
      context.nameTo = pos - 1;
      context.textFrom = pos;
      return context.nameTo > context.nameFrom ? 'event' : 'none';
    }
    // a period before the event
    let k = from;
    while (k < pos && isDigit(buf[k]!)) k++;
    if (k < pos || from === pos) break;
  }
  return 'none';
}
