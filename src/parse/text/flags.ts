/**
 * The flag characters of a line back to common_flags and common_preempt_count (kernel/trace/trace_output.c:
 * trace_print_lat_fmt). Their number tells the kernel: 4 before 5.19, 5 since, 6 to 8 on RT kernels.
 */
import { NO_FLAGS } from './context.js';

/** include/linux/trace_events.h: enum trace_flag_type (0x02 was IRQS_NOSUPPORT before 6.13). */
const IRQS_OFF = 0x01;
const NEED_RESCHED_LAZY = 0x02;
const NEED_RESCHED = 0x04;
const HARDIRQ = 0x08;
const SOFTIRQ = 0x10;
const PREEMPT_RESCHED = 0x20;
const NMI = 0x40;
const BH_OFF = 0x80;

const NONE = 0x8000;

function column(entries: Readonly<Record<string, number>>): Uint16Array {
  const table = new Uint16Array(256).fill(NONE);
  for (const [char, bits] of Object.entries(entries)) table[char.charCodeAt(0)] = bits;
  return table;
}

const IRQS = column({ '.': 0, d: IRQS_OFF, D: IRQS_OFF | BH_OFF, b: BH_OFF, X: NEED_RESCHED_LAZY });
const RESCHED = column({
  '.': 0,
  N: NEED_RESCHED | PREEMPT_RESCHED,
  n: NEED_RESCHED,
  p: PREEMPT_RESCHED,
  l: NEED_RESCHED_LAZY,
  L: NEED_RESCHED_LAZY | PREEMPT_RESCHED,
  b: NEED_RESCHED | NEED_RESCHED_LAZY,
  B: NEED_RESCHED | NEED_RESCHED_LAZY | PREEMPT_RESCHED,
});
const CONTEXT = column({
  '.': 0,
  h: HARDIRQ,
  s: SOFTIRQ,
  H: HARDIRQ | SOFTIRQ,
  z: NMI,
  Z: NMI | HARDIRQ,
});
const LAZY = column({ '.': 0, L: NEED_RESCHED_LAZY, l: NEED_RESCHED_LAZY, N: NEED_RESCHED_LAZY, n: NEED_RESCHED_LAZY });
const DEPTH = column(
  Object.fromEntries([['.', 0], ...Array.from('0123456789abcdef', (digit, k) => [digit, k] as const)]),
);

/** Whether a byte can be the first flag character. */
export function isFirstFlag(byte: number): boolean {
  return IRQS[byte] !== NONE;
}

/** Flags of buf[from, to), which has 4 to 8 bytes; -1 where they are no flags. */
export function parseFlags(buf: Uint8Array, from: number, to: number): number {
  const count = to - from;
  // RT kernels put need-resched-lazy third; 7 and 8 columns also have a depth of lazy preemption
  const rt = count >= 6 ? 1 : 0;
  let bits = IRQS[buf[from]!]! | RESCHED[buf[from + 1]!]! | CONTEXT[buf[from + 2 + rt]!]!;
  if (rt) bits |= LAZY[buf[from + 2]!]!;
  let depth = DEPTH[buf[from + 3 + rt]!]!;
  bits |= depth & NONE;
  if (count > 4) {
    const migrate = DEPTH[buf[to - 1]!]!;
    bits |= migrate & NONE;
    depth |= (migrate & 15) << 4;
  }
  return bits & NONE ? -1 : (bits & 0xff) | ((depth & 0xff) << 8);
}

/** Flags of trace-cmd report -R (`-0x1`), which prints common_flags only. */
export function flagsOfNumber(value: number): number {
  return value > 0xff ? NO_FLAGS : value;
}
