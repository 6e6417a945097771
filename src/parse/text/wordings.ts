/**
 * Texts of events that are not the print fmt of a catalogued kernel: those of libtraceevent's plugins (which trace-cmd
 * report and perf script load) and of older kernels. `{field}` is a decimal number, `{field:x}` a hexadecimal one,
 * `{field:s}` text, `{comm:task:pid}` a task, `{field:exit}` an exit reason, `{}` anything; a field that is not named is NULL.
 */
import { printedRadixes } from './compile-print-fmt.js';
import type { EventColumns } from './compile-print-fmt.js';
import { OP } from './program.js';
import type { Program } from './program.js';
import { ProgramBuilder } from './program-builder.js';

const EXIT_TEXTS = [
  'reason {exit_reason:exit} rip {guest_rip:x} info {info1:x} {info2:x}',
  // 5.8 to 5.10
  'vcpu {vcpu_id} reason {exit_reason:exit} rip {guest_rip:x} info {info1:x} {info2:x}',
  'reason {exit_reason:exit} rip {guest_rip:x}',
];
const SHADOW_PAGE_TEXTS = ['sp gfn {gfn:x} {}root {root_count} {unsync:sync}', '{}root {root_count} {unsync:sync}'];
const WAKEUP_TEXTS = [
  '{comm:task:pid} [{prio}] CPU:{target_cpu}',
  '{comm:task:pid} [{prio}] success={} CPU:{target_cpu}',
  '{comm:task:pid} [{prio}]<CANT FIND FIELD success> CPU:{target_cpu}',
  'comm={comm:s} pid={pid} prio={prio} success={} target_cpu={target_cpu}',
];

const WORDINGS: Readonly<Record<string, readonly string[]>> = {
  'kvm:kvm_exit': EXIT_TEXTS,
  'kvm:kvm_entry': ['vcpu {vcpu_id} rip {rip:x}', 'vcpu {vcpu_id}, rip {rip:x}', 'vcpu {vcpu_id}'],
  'kvm:kvm_page_fault': ['address {fault_address:x} error_code {error_code:x}'],
  'kvm:kvm_emulate_insn': [
    '{csbase:x}:{rip:x}: {insn:bytes} FAIL',
    '{csbase:x}:{rip:x}: {insn:bytes}',
    '{csbase:x}:{rip:x}:{insn:bytes} ({}) {}',
  ],
  'kvmmmu:kvm_mmu_get_page': ['{created:new} sp gfn {gfn:x} {}root {root_count} {unsync:sync}', ...SHADOW_PAGE_TEXTS],
  'kvmmmu:kvm_mmu_sync_page': SHADOW_PAGE_TEXTS,
  'kvmmmu:kvm_mmu_unsync_page': SHADOW_PAGE_TEXTS,
  'kvmmmu:kvm_mmu_prepare_zap_page': SHADOW_PAGE_TEXTS,
  'sched:sched_switch': [
    '{prev_comm:task:prev_pid} [{prev_prio}] {prev_state:state} ==> {next_comm:task:next_pid} [{next_prio}]',
    'prev_comm={prev_comm:s} prev_pid={prev_pid} prev_prio={prev_prio} prev_state={} ==> ' +
      'next_comm={next_comm:s} next_pid={next_pid} next_prio={next_prio}',
  ],
  'sched:sched_wakeup': WAKEUP_TEXTS,
  'sched:sched_wakeup_new': WAKEUP_TEXTS,
  'sched:sched_waking': WAKEUP_TEXTS,
};

/** TASK_REPORT names of include/trace/events/sched.h. The plugin drops the + of R+, so its R may be 0 or 0x100. */
const PLUGIN_STATES: readonly (readonly [string, bigint | null])[] = [
  ['R', null],
  ['S', 1n],
  ['D', 2n],
  ['T', 4n],
  ['t', 8n],
  ['X', 16n],
  ['Z', 32n],
  ['P', 64n],
  ['I', 128n],
];
const NEW_WORDS: readonly (readonly [string, bigint])[] = [
  ['existing', 0n],
  ['new', 1n],
];
const SYNC_WORDS: readonly (readonly [string, bigint])[] = [
  ['sync', 0n],
  ['unsync', 1n],
];

/** Compiles the known other wordings of an event. @param kernelProgram its print fmt, compiled, whose tables are used again */
export function compileWordings(event: EventColumns, kernelProgram: Program | null, kernelText: boolean): Program[] {
  // the kernel's text has the writer's symbol (tracing_mark_write) as the event's name
  if (isPrint(event))
    return [compileWording(event, kernelText ? '{buf:s}' : '{ip:address}: {buf:s}', null, kernelText)!];
  const texts = WORDINGS[`${event.format.system}:${event.format.name}`] ?? [];
  return texts.flatMap((text) => compileWording(event, text, kernelProgram, kernelText) ?? []);
}

/** Text that user space wrote into trace_marker: anything at all, so nothing but its own wording may be tried on it. */
export function isPrint(event: EventColumns): boolean {
  return event.format.system === 'ftrace' && event.format.name === 'print';
}

function compileWording(
  event: EventColumns,
  text: string,
  kernelProgram: Program | null,
  kernelText: boolean,
): Program | null {
  const builder = new ProgramBuilder();
  for (const piece of text.split(/(\{[^}]*\})/)) {
    const slot = /^\{(\w*)(?::(\w+))?(?::(\w+))?\}$/.exec(piece);
    if (!slot) builder.literal(piece);
    else if (slot[1] === '') builder.skip();
    else {
      const column = event.columns.get(slot[1]!);
      if (column === undefined) return null;
      if (slot[2] === 'task') {
        const pid = event.columns.get(slot[3] ?? '');
        if (pid === undefined) return null;
        builder.add(OP.TASK, column, pid, 0, pid);
      } else if (!addSlot(builder, event, column, slot[2] ?? 'd', kernelProgram)) return null;
    }
  }
  return builder.build(event.types.length, kernelText);
}

function addSlot(
  builder: ProgramBuilder,
  event: EventColumns,
  column: number,
  kind: string,
  kernelProgram: Program | null,
): boolean {
  const isText = event.types[column] === 'string';
  switch (kind) {
    case 'x':
      builder.add(OP.NUMBER, column, 16);
      return true;
    case 's':
      builder.add(OP.STRING, column);
      return isText;
    case 'bytes':
      builder.add(OP.BYTES, column);
      return isText;
    case 'address':
      builder.add(OP.ADDRESS, column);
      return true;
    case 'state':
      builder.add(OP.SYMBOL, column, builder.table(PLUGIN_STATES));
      return true;
    case 'new':
      builder.add(OP.SYMBOL, column, builder.table(NEW_WORDS));
      return true;
    case 'sync':
      builder.add(OP.SYMBOL, column, builder.table(SYNC_WORDS));
      return true;
    case 'exit': {
      const isa = event.columns.get('isa');
      if (isa === undefined || !kernelProgram || kernelProgram.tables.length < 3) return false;
      const first = builder.adopt(kernelProgram.tables.slice(0, 3));
      builder.add(OP.EXIT_REASON, column, first | (isa << 8), 0, isa);
      return true;
    }
    default:
      builder.add(OP.NUMBER, column, 10);
      return !isText;
  }
}

/** `exit_reason=1024 guest_rip=0x10000 …`: trace-cmd report -R, options/fields, perf script of an event it cannot format. */
export function compileKeyValues(event: EventColumns, kernelText: boolean): Program | null {
  const builder = new ProgramBuilder();
  const radixes = printedRadixes(event);
  let any = false;
  for (const [name, column] of event.columns) {
    const array = /^(.*)_(\d+)$/.exec(name);
    const isElement = array !== null && event.format.fields.some((field) => field.name === array[1] && field.isArray);
    if (isElement && array[2] !== '0') {
      builder.literal(', ');
      builder.add(OP.NUMBER, column, 16);
      continue;
    }
    builder.literal(`${any ? ' ' : ''}${isElement ? `${array[1]!}=ARRAY[` : `${name}=`}`);
    any = true;
    if (isElement) builder.add(OP.NUMBER, column, 16);
    else if (event.types[column] === 'string') builder.add(OP.STRING, column);
    else builder.add(OP.RAW_NUMBER, column, radixes.get(column) ?? 10);
    if (isElement && !event.columns.has(`${array[1]!}_${Number(array[2]) + 1}`)) builder.literal(']');
  }
  return any ? builder.build(event.types.length, kernelText) : null;
}
