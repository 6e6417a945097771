/** The run as the kernel's `trace` file prints it (kernel/trace/trace_output.c; reference 10 §2). */
import type { FieldGetter } from '../parse/print-fmt/index.js';
import type { EventDefinition } from './event-set.js';
import type { SimEvent } from './host.js';
import type { SimulatedRun } from './index.js';

const HEADER = `#
#                                          _-----=> irqs-off/BH-disabled
#                                         / _----=> need-resched
#                                        | / _---=> hardirq/softirq
#                                        || / _--=> preempt-depth
#                                        ||| / _-=> migrate-disable
#                                        |||| /     delay
#           TASK-PID       TGID    CPU#  |||||  TIMESTAMP  FUNCTION
#              | |           |       |   |||||     |         |
`;

/** The whole file, piece by piece. */
export function* textLines({ events, losses, cpus, options }: SimulatedRun): Generator<string> {
  yield '# tracer: nop\n#\n';
  yield `# synthetic: written by gmemtrace simulate, platform ${options.platform}, mechanism ${options.mechanism}, seed ${options.seed}\n`;
  // where no line says so, the header's counts still tell that events are missing
  const isSilent = options.lostMarks === 'none';
  const written = events.length + (isSilent ? losses.reduce((sum, { count }) => sum + count, 0) : 0);
  yield `#\n# entries-in-buffer/entries-written: ${events.length}/${written}   #P:${cpus}\n`;
  yield HEADER;
  let nextLoss = 0;
  for (const [position, event] of events.entries()) {
    for (; losses[nextLoss]?.before === position; nextLoss++) {
      const { cpu, count } = losses[nextLoss]!;
      if (!isSilent) yield `CPU:${cpu} [LOST ${options.lostMarks === 'bare' ? '' : `${count} `}EVENTS]\n`;
    }
    yield textOf(event);
  }
}

function textOf(event: SimEvent): string {
  const { definition, tid, tgid, comm, cpu, ns } = event;
  const task = `${comm.slice(0, 15).padStart(16)}-${String(tid).padEnd(7)}`;
  const group = tid === 0 ? '(-------)' : `(${String(tgid).padStart(7)})`;
  const irqs = (definition.commonFlags & 1) !== 0 ? 'd' : '.';
  const depth = definition.preemptCount === 0 ? '.' : String(definition.preemptCount);
  const us = Math.round(ns / 1000);
  const time = `${String(Math.floor(us / 1e6)).padStart(5)}.${String(us % 1e6).padStart(6, '0')}`;
  return `${task} ${group} [${String(cpu).padStart(3, '0')}] ${irqs}..${depth}. ${time}: ${bodyOf(definition, event.values)}\n`;
}

function bodyOf(definition: EventDefinition, values: SimEvent['values']): string {
  const { name, system } = definition;
  if (name === 'print') return `tracing_mark_write: ${String(values[1]).trimEnd()}`;
  if (system === 'syscalls') return syscallText(definition, values);
  const get = getterOf(definition, values);
  if (definition.probe) return `${name}: ${probePlace(definition)} ${afterPlace(definition.render(get))}`;
  const text = definition.render(get);
  return `${name}: ${system === 'page_ref' ? hashPointer(text) : text}`;
}

/** A reader of one event's fields, numbers as bigint cut to the field's width. */
export function getterOf(definition: EventDefinition, values: SimEvent['values']): FieldGetter {
  return (name) => {
    const index = definition.fields.findIndex((field) => field.name === name);
    const value = values[index];
    if (value === undefined) return null;
    if (typeof value === 'string') return value;
    const { size, signed } = definition.fields[index]!;
    return signed ? BigInt.asIntN(size * 8, BigInt(value)) : BigInt.asUintN(size * 8, BigInt(value));
  };
}

/** `sys_ioctl(fd: 9, cmd: 0xae01, arg: 5)` and `sys_ioctl -> 0x0` (trace_syscalls.c:print_syscall_enter). */
function syscallText({ name, fields }: EventDefinition, values: SimEvent['values']): string {
  if (name.startsWith('sys_exit_')) {
    const ret = BigInt.asUintN(64, BigInt(values[1]!));
    return `sys_${name.slice('sys_exit_'.length)} -> 0x${ret.toString(16)}`;
  }
  const args = fields.slice(1).map(({ name: field }, i) => `${field}: ${argumentText(BigInt(values[i + 1]!))}`);
  return `sys_${name.slice('sys_enter_'.length)}(${args.join(', ')})`;
}

function argumentText(value: bigint): string {
  const unsigned = BigInt.asUintN(64, value);
  return unsigned < 10n ? String(unsigned) : `0x${unsigned.toString(16)}`;
}

function probePlace({ probe }: EventDefinition): string {
  const { fn, isReturn, caller, module } = probe!;
  const where = module === '' ? '' : ` [${module}]`;
  return isReturn ? `(${caller}+0x64/0xb51 <- ${fn})` : `(${fn}+0x4/0x2b3${where})`;
}

/** The arguments behind the addresses that the print fmt begins with. */
function afterPlace(text: string): string {
  return text.slice(text.indexOf(') ') + 2);
}

/** The kernel's own text shows `%p` hashed, never raw. */
function hashPointer(text: string): string {
  return text.replace(/mapping=(?:0x)?([0-9a-f]+|\(nil\))/, (_, digits: string) => {
    if (!/[1-9a-f]/.test(digits)) return 'mapping=0000000000000000';
    const hash = (BigInt(`0x${digits}`) * 0x9e3779b97f4a7c15n) & 0xffffffffn;
    return `mapping=00000000${hash.toString(16).padStart(8, '0')}`;
  });
}
