/** The text of an event, in the wording of the kernel or of its user-space tools. */
import type { FieldSpec } from '../../parse/model.js';
import { compilePrintFmt, rawFields, renderFields, type FieldGetter } from '../../parse/print-fmt/index.js';
import type { LineStyle } from './styles.js';
import type { EventType } from './types.js';

export interface EventPrinter {
  /** The event's text on one line. */
  readonly text: (get: FieldGetter) => string;
  /** What stands for the event's name before its text, where that is not its name. */
  readonly title?: (get: FieldGetter) => string;
  /** What of the print fmt could not be evaluated. */
  readonly unevaluable: readonly string[];
}

/** The printer of a tracepoint in one style. */
export function eventPrinter(type: EventType, style: LineStyle): EventPrinter {
  const printer = style === 'raw' ? rawPrinter(type) : (special(type, style) ?? plainPrinter(type));
  return { ...printer, text: (get) => oneLine(printer.text(get)) };
}

/** A trace_marker may hold newlines and control characters; a line of ours holds one event. */
function oneLine(text: string): string {
  if (!/[\x00-\x1f]/.test(text)) return text;
  return text.replace(/\n+$/, '').replace(/[\x00-\x1f]/g, (char) => {
    if (char === '\t') return char;
    if (char === '\n') return '\\n';
    return `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`;
  });
}

function plainPrinter(type: EventType): EventPrinter {
  if (type.printFmt === null) return { text: renderFields(type.fields), unevaluable: [] };
  const fmt = compilePrintFmt(type.printFmt, type.fields);
  return { text: fmt.render, unevaluable: fmt.unevaluable };
}

function rawPrinter(type: EventType): EventPrinter {
  const text =
    type.printFmt === null ? renderFields(type.fields) : compilePrintFmt(type.printFmt, type.fields).renderRaw;
  // trace-cmd puts a blank before each field, the first one included
  return { text: (get) => ` ${text(get)}`, unevaluable: [] };
}

function special(type: EventType, style: Exclude<LineStyle, 'raw'>): EventPrinter | null {
  if (type.system === 'syscalls') return syscallPrinter(type, style);
  if (type.system === 'ftrace') return ftracePrinter(type, style);
  if (type.probeReturn !== null && (style === 'kernel' || type.printFmt === null)) return probePrinter(type);
  return null;
}

/**
 * kernel/trace/trace_syscalls.c: print_syscall_enter and print_syscall_exit for the kernel's style, the print fmt's
 * `0x%08lx` for the others. An int that is negative prints as such: the kernel and its tools print whatever user space
 * left in the upper half of the register.
 */
function syscallPrinter(type: EventType, style: 'kernel' | 'trace-cmd' | 'perf'): EventPrinter | null {
  const call = type.name.replace(/^sys_(enter|exit)_/, '');
  if (type.name.startsWith('sys_exit_')) {
    const hex = (get: FieldGetter) => `0x${unsigned(get('ret')).toString(16)}`;
    return { text: style === 'kernel' ? (get) => `sys_${call} -> ${hex(get)}` : hex, unevaluable: [] };
  }
  if (!type.name.startsWith('sys_enter_')) return null;
  const print = style === 'kernel' ? kernelArgument : peerArgument;
  const args = type.fields.filter((field) => !field.name.startsWith('__'));
  const list = (get: FieldGetter) => args.map((field) => `${field.name}: ${argument(get, field, print)}`).join(', ');
  return { text: style === 'kernel' ? (get) => `sys_${call}(${list(get)})` : list, unevaluable: [] };
}

function argument(get: FieldGetter, field: FieldSpec, print: (value: bigint) => string): string {
  const value = get(field.name);
  if (typeof value === 'string') return value;
  if (value === null) return '?';
  return value < 0n && field.type !== 'i64' ? value.toString() : print(unsigned(value));
}

const kernelArgument = (value: bigint): string => (value < 10n ? value.toString() : `0x${value.toString(16)}`);
const peerArgument = (value: bigint): string => `0x${value.toString(16).padStart(8, '0')}`;

function unsigned(value: bigint | string | null): bigint {
  return typeof value === 'bigint' ? BigInt.asUintN(64, value) : 0n;
}

/** kernel/trace/trace_kprobe.c: `(function) arg=value …`, for returns `(caller <- function) …`. */
function probePrinter(type: EventType): EventPrinter {
  const isReturn = type.probeReturn === true;
  const own = type.fields.filter((field) => !field.name.startsWith('__probe_'));
  const fmt = type.printFmt === null ? null : compilePrintFmt(withoutPlace(type.printFmt), type.fields);
  const rest = fmt ? fmt.render : renderFields(own);
  const fn = (get: FieldGetter) => type.probeFn ?? address(get(isReturn ? '__probe_func' : '__probe_ip'));
  const caller = (get: FieldGetter) => {
    const ip = get('__probe_ret_ip');
    return ip === null ? '' : `${address(ip)} `;
  };
  const place = (get: FieldGetter) => (isReturn ? `(${caller(get)}<- ${fn(get)})` : `(${fn(get)})`);
  return { text: (get) => `${place(get)} ${rest(get).trimStart()}`.trimEnd(), unevaluable: fmt?.unevaluable ?? [] };
}

function address(value: bigint | string | null): string {
  return typeof value === 'bigint' ? BigInt.asUintN(64, value).toString(16) : (value ?? '?');
}

/** Takes the place of the probe off its print fmt: `"(%lx) …", REC->__probe_ip, …`. */
function withoutPlace(printFmt: string): string {
  return printFmt
    .replace(/^"\(%lx(?: <- %lx)?\) ?/, '"')
    .replace(/, REC->__probe_(?:ip|func, REC->__probe_ret_ip)/, '');
}

/** The tracer's own events, whose print fmts need a symbol table or are not meant for print (trace_output.c). */
function ftracePrinter(type: EventType, style: LineStyle): EventPrinter | null {
  if (type.name === 'print') {
    const text = (get: FieldGetter) => String(get('buf') ?? '?');
    if (style !== 'kernel') return { text, unevaluable: [] };
    // the kernel prints the writer's symbol: a text without ip had tracing_mark_write; an ip without symbols may be any
    return { text, title: (get) => (get('ip') === null ? 'tracing_mark_write' : type.name), unevaluable: [] };
  }
  if (type.name === 'raw_data') {
    const text = (get: FieldGetter) =>
      `# ${unsigned(get('id')).toString(16)} buf: ${plainArray(get('buf'))} (±3 bytes)`;
    return { text, unevaluable: [] };
  }
  if (type.name === 'kernel_stack' || type.name === 'user_stack') {
    const [, caller] = rawFields(type.fields, null);
    return { text: (get) => `<stack trace> ${caller?.print(get) ?? ''}`.trimEnd(), unevaluable: [] };
  }
  return null;
}

function plainArray(value: bigint | string | null): string {
  return typeof value === 'string' ? value.replace(/^ARRAY\[(.*)\]$/, '$1').replaceAll(',', '') : '?';
}
