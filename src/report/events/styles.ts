/** Line layouts of the kernel's trace file, `trace-cmd report` and `perf script`. */

export type LineStyle = 'kernel' | 'trace-cmd' | 'perf' | 'raw';

export const LINE_STYLES: readonly LineStyle[] = ['kernel', 'trace-cmd', 'perf', 'raw'];

export interface LineOptions {
  /** Prints the TGID column (kernel style, option record-tgid). */
  readonly tgid: boolean;
  /** Prints times with nine decimals. */
  readonly nanoseconds: boolean;
}

/** What a line says beside the event's own text. */
export interface LineContext {
  /** trace.format: `hyp-text` has no task and no colon. */
  readonly format: string;
  /** trace.clock_unit: anything but `ns` prints the raw stamp. */
  readonly clockUnit: string;
  /** Bit 1 of common_flags is the lazy resched flag (kernel 6.13 and later); before: "irq state unsupported". */
  readonly hasLazyResched: boolean;
  /** Columns of the longest `system:event` (perf style). */
  readonly nameWidth: number;
}

export interface LineParts {
  readonly tsNs: bigint;
  readonly cpu: number;
  readonly tid: number;
  /** null: not known. */
  readonly comm: string | null;
  readonly tgid: number | null;
  /** common_flags in the low byte, common_preempt_count in the high one; 0xffff: not known. */
  readonly flags: number;
  readonly system: string;
  readonly name: string;
  readonly text: string;
}

const NO_FLAGS = 0xffff;

/** One line without its newline. */
export function formatLine(style: LineStyle, parts: LineParts, context: LineContext, options: LineOptions): string {
  if (context.format === 'hyp-text' && style === 'kernel') return hypervisorLine(parts, options);
  switch (style) {
    case 'kernel':
      return kernelLine(parts, context, options);
    case 'trace-cmd':
      return traceCmdLine(parts, context, options);
    case 'perf':
      return perfLine(parts, context, options);
    case 'raw':
      return rawLine(parts, context, options);
  }
}

/** kernel/trace/trace_output.c: trace_print_context. */
function kernelLine(parts: LineParts, context: LineContext, options: LineOptions): string {
  const comm = (parts.comm ?? '<...>').padStart(16);
  const tgid = options.tgid ? `(${parts.tgid === null ? '-------' : String(parts.tgid).padStart(7)}) ` : '';
  const flags = parts.flags === NO_FLAGS ? '' : flagCharacters(parts.flags, context.hasLazyResched);
  const time = stamp(parts.tsNs, context, options, 'round');
  return `${comm}-${String(parts.tid).padEnd(7)} ${tgid}[${cpuText(parts)}] ${flags} ${time}: ${kernelText(parts)}`;
}

/** The kernel's text of a system call has no `name: ` before it. */
function kernelText(parts: LineParts): string {
  return parts.system === 'syscalls' && parts.text.startsWith('sys_') ? parts.text : `${parts.name}: ${parts.text}`;
}

/** kernel/trace/trace_remote.c: no task, no flags, no colon after the name, microseconds cut off. */
function hypervisorLine(parts: LineParts, options: LineOptions): string {
  const time = seconds(parts.tsNs, options.nanoseconds, 'cut').padStart(12);
  return `[${cpuText(parts)}]\t${time}: ${parts.name} ${parts.text}`;
}

function traceCmdLine(parts: LineParts, context: LineContext, options: LineOptions): string {
  const flags = parts.flags === NO_FLAGS ? '' : flagCharacters(parts.flags, context.hasLazyResched);
  return `${traceCmdTask(parts)} ${flags} ${traceCmdRest(parts, context, options)}`;
}

/** `trace-cmd report -R`: common_flags as a number, glued to the CPU. */
function rawLine(parts: LineParts, context: LineContext, options: LineOptions): string {
  const flags = parts.flags === NO_FLAGS ? '' : `-0x${(parts.flags & 0xff).toString(16)}`;
  return `${traceCmdTask(parts)}${flags} ${traceCmdRest(parts, context, options)}`;
}

function traceCmdTask(parts: LineParts): string {
  return `${(parts.comm ?? '<...>').padStart(16)}-${String(parts.tid).padEnd(5)} [${cpuText(parts)}]`;
}

function traceCmdRest(parts: LineParts, context: LineContext, options: LineOptions): string {
  return `${stamp(parts.tsNs, context, options, 'round')}: ${`${parts.name}:`.padEnd(21)} ${parts.text}`;
}

/** tools/perf/builtin-script.c: print_sample_start and process_event; microseconds are cut off, not rounded. */
function perfLine(parts: LineParts, context: LineContext, options: LineOptions): string {
  const comm = (parts.tid === 0 ? 'swapper' : (parts.comm ?? `:${parts.tid}`)).padStart(16);
  const name = `${parts.system}:${parts.name}`.padStart(context.nameWidth);
  const time = stamp(parts.tsNs, context, options, 'cut');
  return `${comm} ${String(parts.tid).padStart(7)} [${cpuText(parts)}] ${time}: ${name}: ${parts.text}`;
}

function cpuText(parts: LineParts): string {
  return String(parts.cpu).padStart(3, '0');
}

function stamp(tsNs: bigint, context: LineContext, options: LineOptions, rounding: 'round' | 'cut'): string {
  if (context.clockUnit !== 'ns') return String(tsNs).padStart(12);
  return seconds(tsNs, options.nanoseconds, rounding).padStart(options.nanoseconds ? 15 : 12);
}

function seconds(tsNs: bigint, nanoseconds: boolean, rounding: 'round' | 'cut'): string {
  const negative = tsNs < 0n;
  const abs = negative ? -tsNs : tsNs;
  const unit = nanoseconds ? 1n : 1000n;
  const perSecond = 1_000_000_000n / unit;
  const count = rounding === 'round' ? (abs + unit / 2n) / unit : abs / unit;
  const fraction = String(count % perSecond).padStart(nanoseconds ? 9 : 6, '0');
  return `${negative ? '-' : ''}${count / perSecond}.${fraction}`;
}

const IRQS_OFF = 0x01;
const NEED_RESCHED_LAZY = 0x02;
const NEED_RESCHED = 0x04;
const HARDIRQ = 0x08;
const SOFTIRQ = 0x10;
const PREEMPT_RESCHED = 0x20;
const NMI = 0x40;
const BH_OFF = 0x80;

/** The five flag characters of a line (kernel/trace/trace_output.c: trace_print_lat_fmt). */
export function flagCharacters(flags: number, hasLazyResched: boolean): string {
  const common = flags & 0xff;
  const depth = flags >> 8;
  return (
    irqCharacter(common, hasLazyResched) +
    reschedCharacter(common, hasLazyResched) +
    contextCharacter(common) +
    depthCharacter(depth & 0xf) +
    depthCharacter(depth >> 4)
  );
}

function irqCharacter(flags: number, hasLazyResched: boolean): string {
  if (flags & IRQS_OFF) return flags & BH_OFF ? 'D' : 'd';
  if (flags & BH_OFF) return 'b';
  return !hasLazyResched && flags & NEED_RESCHED_LAZY ? 'X' : '.';
}

function reschedCharacter(flags: number, hasLazyResched: boolean): string {
  const lazy = hasLazyResched && (flags & NEED_RESCHED_LAZY) !== 0;
  const need = (flags & NEED_RESCHED) !== 0;
  if (flags & PREEMPT_RESCHED) return need ? (lazy ? 'B' : 'N') : lazy ? 'L' : 'p';
  return need ? (lazy ? 'b' : 'n') : lazy ? 'l' : '.';
}

function contextCharacter(flags: number): string {
  if (flags & NMI) return flags & HARDIRQ ? 'Z' : 'z';
  if (flags & HARDIRQ) return flags & SOFTIRQ ? 'H' : 'h';
  return flags & SOFTIRQ ? 's' : '.';
}

function depthCharacter(depth: number): string {
  return depth === 0 ? '.' : depth.toString(16);
}

/** Whether a kernel release has the lazy resched flag; one that is not known is taken to be recent. */
export function hasLazyResched(kernel: string | null): boolean {
  const parts = /^(\d+)\.(\d+)/.exec(kernel ?? '');
  if (!parts) return true;
  const major = Number(parts[1]);
  return major > 6 || (major === 6 && Number(parts[2]) >= 13);
}
