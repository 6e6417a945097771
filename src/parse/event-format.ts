/**
 * The kernel's `format` text of one event, and the columns that it makes. Layout of the text:
 * kernel/trace/trace_events.c:f_show (`\tfield:TYPE NAME;\toffset:N;\tsize:N;\tsigned:N;`, an empty line after the common fields).
 */
import type { ColumnType, EventSchema, FieldSpec, ProbeInfo } from './model.js';

/** One field as the format text states it. */
export interface RawField {
  readonly name: string;
  /** C type with the array part, without the name: `unsigned long`, `char[16]`, `__data_loc char[]`. */
  readonly cType: string;
  /** Offset in the record's payload, in bytes. */
  readonly offset: number;
  /** Bytes in the payload; 0 = everything from `offset` to the end of the record. */
  readonly size: number;
  readonly signed: boolean;
  readonly isArray: boolean;
  /** Elements of a fixed array; 0 where the record decides. */
  readonly arrayLength: number;
  /** Bytes of one element (of the field itself where it is no array). */
  readonly elementSize: number;
  readonly isDynamic: 'data_loc' | 'rel_loc' | null;
  /** Text: an array of `char`. */
  readonly isString: boolean;
}

export interface EventFormat {
  readonly system: string;
  readonly name: string;
  /** common_type of this event's records, in this file only. */
  readonly id: number;
  readonly commonFields: readonly RawField[];
  readonly fields: readonly RawField[];
  /** print fmt without the leading `print fmt: `; null where there is none. */
  readonly printFmt: string | null;
  readonly text: string;
}

/** How a field's bytes become one column value. */
export type FieldReach = 'fixed' | 'data_loc' | 'rel_loc' | 'rest';

/** One column of an event and where its bytes are in the record. */
export interface FieldPlan {
  readonly spec: FieldSpec;
  /** `chars` and `elements` give strings; the others numbers. */
  readonly kind: 'int' | 'bool' | 'chars' | 'elements';
  readonly reach: FieldReach;
  readonly offset: number;
  /** Bytes of the value (`int`, `bool`), of the fixed array, or of the location word. */
  readonly size: number;
  /** Bytes of one array element. */
  readonly elementSize: number;
  /** Extra bytes before the value in a big-endian record, where a C type is narrower than its slot. */
  readonly slack: number;
}

const FIELD = /^\s*field(?: special)?:(.*?);\s*offset:(\d+);\s*size:(\d+);(?:\s*signed:(-?\d+);)?/;
const DECLARATION = /^(.*?)([A-Za-z_]\w*)\s*((?:\[[^\]]*\])*)\s*$/;

/** Largest offset or size that a record's field can have: data lengths in the ring buffer have 27 bits. */
const MAX_REACH = 1 << 27;

/** Arrays up to this many numbers become one column an element. */
const MAX_COLUMN_ELEMENTS = 8;

/** What a file's format texts say of its event `text`; null where the text has no name, no id or no readable field line. */
export function parseEventFormat(system: string, text: string, longSize = 8): EventFormat | null {
  const name = /^name:\s*(\S+)/m.exec(text)?.[1];
  const id = Number(/^ID:\s*(\d+)/m.exec(text)?.[1] ?? NaN);
  if (name === undefined || !Number.isInteger(id) || id > 0xffff) return null;
  const commonFields: RawField[] = [];
  const fields: RawField[] = [];
  let inCommon = true;
  let printFmt: string | null = null;
  let position = 0;
  while (position < text.length) {
    if (text.startsWith('print fmt:', position)) {
      printFmt = text.slice(position + 'print fmt:'.length).trim();
      break;
    }
    let end = text.indexOf('\n', position);
    if (end < 0) end = text.length;
    const line = text.slice(position, end);
    position = end + 1;
    if (!line.includes('field')) {
      if (line.trim() === '' && commonFields.length > 0) inCommon = false;
      continue;
    }
    const field = parseFieldLine(line, longSize);
    if (field) (inCommon ? commonFields : fields).push(field);
    else if (/^\s*field/.test(line)) return null;
  }
  return commonFields.length === 0 ? null : { system, name, id, commonFields, fields, printFmt, text };
}

/** One `field:…` line (of a format text or of header_page); null where it is none. `longSize` in bytes. */
export function parseFieldLine(line: string, longSize = 8): RawField | null {
  const match = FIELD.exec(line);
  const declared = match && DECLARATION.exec(match[1]!);
  if (!match || !declared) return null;
  const offset = Number(match[2]);
  const size = Number(match[3]);
  if (offset > MAX_REACH || size > MAX_REACH) return null;
  const typeWords = declared[1]!.trim();
  const brackets = declared[3]! || (/(?:\[[^\]]*\])+$/.exec(typeWords)?.[0] ?? '');
  const baseType = typeWords.replace(/(?:\[[^\]]*\])+$/, '').trim();
  const isDynamic = baseType.includes('__data_loc') ? 'data_loc' : baseType.includes('__rel_loc') ? 'rel_loc' : null;
  const elementType = baseType.replace(/\b__(?:data|rel)_loc\b/, '').trim();
  const isArray = brackets !== '' || isDynamic !== null;
  const length = isDynamic || size === 0 ? 0 : Number(/^\[(\d+)\]$/.exec(brackets)?.[1] ?? NaN);
  const elementSize = !isArray
    ? size
    : length > 0 && size % length === 0
      ? size / length
      : typeSize(elementType, longSize);
  return {
    name: declared[2]!,
    cType: `${baseType}${brackets}`,
    offset,
    size,
    signed: match[4] === undefined ? !/\*|\bu\d|\bunsigned\b|__u\d/.test(baseType) : match[4] !== '0',
    isArray,
    arrayLength: isArray && size > 0 && !isDynamic ? Math.floor(size / elementSize) : 0,
    elementSize,
    isDynamic,
    isString: isArray && /^(?:const )?(?:unsigned )?char(?: const)?$/.test(elementType),
  };
}

/** Size of one element by its C type, in bytes; 1 where the type is not known, `longSize` for bit masks. */
function typeSize(type: string, longSize: number): number {
  if (/\*|\blong long\b/.test(type)) return type.includes('*') ? longSize : 8;
  if (/\b(?:long|size_t|cpumask_t|ulong)\b/.test(type)) return longSize;
  const bits = /\b(?:__)?[us](8|16|32|64)\b|\bu?int(8|16|32|64)_t\b/.exec(type);
  if (bits) return Number(bits[1] ?? bits[2]) / 8;
  if (/\b(?:char|bool)\b/.test(type)) return 1;
  if (/\bshort\b/.test(type)) return 2;
  return /\b(?:int|unsigned|dev_t|pid_t|enum)\b/.test(type) ? 4 : 1;
}

/** C types of syscall arguments that are narrower than their 8-byte slot: size in bytes, negative where signed. */
const NARROW_ARGUMENTS: Readonly<Record<string, number>> = {
  int: -4,
  'const int': -4,
  unsigned: 4,
  'unsigned int': 4,
  'const unsigned int': 4,
  u32: 4,
  __u32: 4,
  s32: -4,
  __s32: -4,
  pid_t: -4,
  clockid_t: -4,
  timer_t: -4,
  mqd_t: -4,
  key_serial_t: -4,
  rwf_t: -4,
  qid_t: 4,
  uid_t: 4,
  gid_t: 4,
  umode_t: 2,
  old_uid_t: 2,
  old_gid_t: 2,
};

/**
 * The columns of an event in format order: integers by size and sign, `char` arrays as text, up to 8 numbers of a fixed
 * array as `name_0`…, other arrays as text `ARRAY[ea, 5b]`. Arguments of system calls are cut to their C type: user space
 * leaves anything in the upper half of the register (arch_syscall ABI; reference kernel/trace/trace_syscalls.c).
 */
export function planFields(format: EventFormat): FieldPlan[] {
  return format.fields.flatMap((field) => planField(format, field));
}

function planField(format: EventFormat, field: RawField): FieldPlan[] {
  const spec = (type: ColumnType, name = field.name): FieldSpec => ({
    name,
    type,
    cType: field.cType,
    radix: /\*|\blong\b/.test(field.cType) ? 16 : 10,
  });
  const { offset, size, elementSize } = field;
  // A stack's real length is that of its record, whatever the declared caller[8]: trace.c:__ftrace_trace_stack.
  const isStack = format.system === 'ftrace' && field.name === 'caller' && field.isArray;
  const reach: FieldReach = field.isDynamic ?? (size === 0 || isStack ? 'rest' : 'fixed');
  if (field.isString) return [{ spec: spec('string'), kind: 'chars', reach, offset, size, elementSize: 1, slack: 0 }];
  if (field.isArray) {
    const columns = reach === 'fixed' && field.arrayLength <= MAX_COLUMN_ELEMENTS && isIntegerSize(elementSize);
    if (!columns) return [{ spec: spec('string'), kind: 'elements', reach, offset, size, elementSize, slack: 0 }];
    return Array.from({ length: field.arrayLength }, (_, k) => ({
      spec: spec(integerType(elementSize, field.signed), `${field.name}_${k}`),
      kind: 'int' as const,
      reach,
      offset: offset + k * elementSize,
      size: elementSize,
      elementSize,
      slack: 0,
    }));
  }
  if (!isIntegerSize(size)) {
    return [{ spec: spec('string'), kind: 'elements', reach, offset, size, elementSize: 1, slack: 0 }];
  }
  if (field.cType === 'bool' && size === 1) {
    return [{ spec: spec('bool'), kind: 'bool', reach, offset, size, elementSize, slack: 0 }];
  }
  const argument = syscallArgument(format, field);
  const width = argument?.size ?? size;
  const type = integerType(width, argument?.signed ?? field.signed);
  return [{ spec: spec(type), kind: 'int', reach, offset, size: width, elementSize: width, slack: size - width }];
}

function syscallArgument(format: EventFormat, field: RawField): { size: number; signed: boolean } | null {
  if (format.system !== 'syscalls' || !format.name.startsWith('sys_enter_') || field.size !== 8) return null;
  const narrow = NARROW_ARGUMENTS[field.cType];
  if (narrow !== undefined) return { size: Math.abs(narrow), signed: narrow < 0 };
  return /^(?:loff_t|off_t|long|ssize_t)$/.test(field.cType) ? { size: 8, signed: true } : null;
}

function isIntegerSize(size: number): boolean {
  return size === 1 || size === 2 || size === 4 || size === 8;
}

function integerType(size: number, signed: boolean): ColumnType {
  return `${signed ? 'i' : 'u'}${size * 8}` as ColumnType;
}

/** Whether an event is a probe by the fields that the kernel puts first, and of which kind; null for tracepoints. */
export function probeKind(format: EventFormat): 'entry' | 'return' | null {
  const first = format.fields[0]?.name;
  return first === '__probe_ip' ? 'entry' : first === '__probe_func' ? 'return' : null;
}

/** The tracepoint as the rest of the program knows it. `probe` where the caller knows on which function a probe sits. */
export function schemaOf(format: EventFormat, opts: { readonly probe?: ProbeInfo | null } = {}): EventSchema {
  const kind = probeKind(format);
  return {
    system: format.system,
    name: format.name,
    id: format.id,
    fields: planFields(format).map((plan) => plan.spec),
    formatSource: 'file',
    printFmt: format.printFmt,
    probe: opts.probe ?? (kind ? { fn: null, isReturn: kind === 'return' } : null),
  };
}
