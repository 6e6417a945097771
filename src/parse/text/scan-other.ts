/** The front of lines of the hypervisor's buffer (kernel/trace/trace_remote.c) and of ftrace's verbose latency format. */
import { decode } from './bytes.js';
import { isDigit } from './cursor.js';
import type { Cursor } from './cursor.js';
import type { LineContext, LineKind } from './context.js';
import type { StampReader } from './stamps.js';

const SPACE = 0x20;
const TAB = 0x09;
const COLON = 0x3a;

/** `[000]<TAB>    7.742459: hyp_enter reason=hvc vcpu=0`: no task, no flags, no colon behind the name. */
export function scanHyp(cursor: Cursor, context: LineContext, stamps: StampReader): LineKind {
  const { buf, end } = cursor;
  let pos = cursor.pos;
  if (buf[pos] !== 0x5b) return 'none';
  let cpu = 0;
  for (pos++; pos < end && isDigit(buf[pos]!); pos++) cpu = cpu * 10 + buf[pos]! - 0x30;
  if (buf[pos] !== 0x5d || cpu > 0xffff) return 'none';
  for (pos++; pos < end && (buf[pos] === TAB || buf[pos] === SPACE);) pos++;
  cursor.pos = pos;
  if (!stamps.read(cursor, context) || buf[cursor.pos] !== COLON) return 'none';
  context.cpu = cpu;
  context.hasCpu = true;
  context.taskFrom = context.taskTo = 0;
  context.tid = 0;
  pos = cursor.pos + 1;
  while (pos < end && buf[pos] === SPACE) pos++;
  context.nameFrom = pos;
  while (pos < end && buf[pos] !== SPACE) pos++;
  // other kernels print the colon
  context.nameTo = buf[pos - 1] === COLON ? pos - 1 : pos;
  context.textFrom = pos;
  context.systemFrom = context.systemTo = 0;
  return context.nameTo > context.nameFrom ? 'event' : 'none';
}

/** `bash     417   1 0 00000000 00000003 [7ea5d860] 9.623ms (+0.003ms): name…`: comm pid cpu flags preempt idx [µs, 32 bits] rel. */
const VERBOSE =
  /^\s*(.*?)\s+(\d+)\s+(\d+) (\d+) ([0-9a-f]{8}) [0-9a-f]{8} \[([0-9a-f]+)\] -?[\d.]+m?s \(\+?-?[\d.]+m?s\): ([^:( ]+)(:| -> |\()/;

/** Lines of options/verbose with latency-format; the stamp is the absolute one in brackets (`%08lx` of µs). */
export function scanVerbose(cursor: Cursor, context: LineContext, stamps: StampReader): LineKind {
  const { buf, pos: from, end } = cursor;
  const match = VERBOSE.exec(decode(buf, from, Math.min(end, from + 400)));
  if (!match) return 'none';
  const micros = Number.parseInt(match[6]!, 16);
  context.cpu = Number(match[3]) & 0xffff;
  context.hasCpu = true;
  context.tid = Number(match[2]) | 0;
  context.tgid = -1;
  context.flags = (Number(match[4]) & 0xff) | ((Number.parseInt(match[5]!, 16) & 0xff) << 8);
  stamps.fromMicros(micros, context);
  const lead = Buffer.byteLength(/^\s*/.exec(match[0])![0]);
  const comm = Buffer.byteLength(match[1]!);
  context.taskFrom = from + lead;
  context.commTo = from + lead + comm;
  // comm, blanks and pid together tell the task
  context.taskTo = from + Buffer.byteLength(/^\s*.*?\s+\d+/.exec(match[0])![0]);
  context.textFrom = from + Buffer.byteLength(match[0]);
  context.nameTo = context.textFrom - match[8]!.length;
  context.nameFrom = context.nameTo - Buffer.byteLength(match[7]!);
  context.systemFrom = context.systemTo = 0;
  if (match[8] === ':') return 'event';
  return match[8] === '(' ? 'syscall-enter' : 'syscall-exit';
}
