/**
 * Event text → columns. A wording of an event (the kernel's print fmt, `key=value`, a plugin's text) is compiled to a
 * program of a few operations over bytes; a line either fits it to its end or not.
 */
import { decode } from './bytes.js';
import { ByteTable } from './byte-table.js';
import { isDigit, readDecimal, readHex, readNumber } from './cursor.js';
import type { Cursor } from './cursor.js';
import type { Output } from './output.js';

/** Operations; each has three operands a, b, c. "Next literal" is the program's next LITERAL, given as pool offset and length. */
export const OP = {
  /** The pool bytes [a, a+b). Blanks at its end may be missing at the end of the line. */
  LITERAL: 0,
  /** A number into column a: radix b where no 0x says so, shifted right by c. */
  NUMBER: 1,
  /** Like NUMBER, but shifted left by c and ORed to what the column has (the first part of a row sets it: b & 256). */
  PART: 2,
  /** A pointer (`%p`) into column a: hexadecimal, `(null)` is 0, other names in parentheses are NULL. */
  POINTER: 3,
  /** A symbol (`%ps`): `0x…` into column a, a name is NULL. */
  ADDRESS: 4,
  /** Text into column a, up to the next literal (b, c) or the end of the line. */
  STRING: 5,
  /** Anything up to the next literal (b, c) or the end of the line. */
  SKIP: 6,
  /** The longest word of table b that stands here; its value into column a (-1: none). */
  CHOICE: 7,
  /** A name of table b, up to the next literal (c = index of the LITERAL's operands in `ops`, -1: end of line), into column a. */
  SYMBOL: 8,
  /** Names of table b joined by its delimiter into column a. Ends where no name fits. */
  FLAGS: 9,
  /**
   * `reason` of kvm_exit: exit reason into column a; tables n (VMX names), n+1 (SVM names), n+2 (flags) for n = b & 255,
   * the ISA into column b >> 8 by the table that knows the name; c as for SYMBOL.
   */
  EXIT_REASON: 10,
  /** `reason NAME (n)` of kvm_userspace_exit: columns a (reason) and b (errno), table c. */
  USERSPACE_EXIT: 11,
  /** A number as trace-cmd -R and options/fields print it: like NUMBER, then ` (n)` may follow. */
  RAW_NUMBER: 12,
  /** Bytes `0f 01 d9` as text `ARRAY[0f, 01, d9]` into column a, up to the next literal (b, c). */
  BYTES: 13,
  /** Like CHOICE, ORed to what the column has. */
  OR_CHOICE: 14,
  /** Like STRING, without the quotes that probes put around strings. */
  QUOTED: 15,
  /** A number of radix b that tells no field. */
  SKIP_NUMBER: 16,
  /** `comm:pid [prio]` of the sched plugin: comm into column a, pid into column b, up to ` [`. A comm may have colons itself. */
  TASK: 17,
} as const;

/** Words and their values. */
export class WordTable {
  private readonly table = new ByteTable();
  private readonly words: Uint8Array[] = [];
  private readonly values: (bigint | null)[] = [];
  /** The same as words: no BigInt per row. */
  private readonly lows: number[] = [];
  private readonly highs: number[] = [];
  readonly delimiter: string;

  /** @param entries words with their values, null where the value is a constant that is not known here */
  constructor(entries: readonly (readonly [string, bigint | null])[], delimiter = '') {
    this.delimiter = delimiter;
    for (const [word, value] of entries) this.add(word, value);
  }

  private add(word: string, value: bigint | null): void {
    const bytes = Buffer.from(word);
    if (this.table.find(bytes, 0, bytes.length) >= 0) return;
    this.table.add(bytes, 0, bytes.length);
    this.words.push(bytes);
    this.values.push(value);
    this.lows.push(Number(BigInt.asIntN(32, value ?? 0n)));
    this.highs.push(Number(BigInt.asIntN(32, (value ?? 0n) >> 32n)));
  }

  /** Index of the word buf[from, to), or -1. */
  find(buf: Uint8Array, from: number, to: number): number {
    return this.table.find(buf, from, to);
  }

  /** Index of the longest word that buf has at `from`, or -1. */
  findPrefix(buf: Uint8Array, from: number, end: number): number {
    let best = -1;
    for (let k = 0; k < this.words.length; k++) {
      const word = this.words[k]!;
      if (from + word.length > end || (best >= 0 && word.length <= this.words[best]!.length)) continue;
      let at = 0;
      while (at < word.length && buf[from + at] === word[at]) at++;
      if (at === word.length) best = k;
    }
    return best;
  }

  wordLength(index: number): number {
    return this.words[index]!.length;
  }

  value(index: number): bigint | null {
    return this.values[index]!;
  }

  /** Writes a word's value into a column. */
  store(index: number, output: Output, column: number): void {
    if (this.values[index] === null) output.setNull(column);
    else output.setNumber(column, this.lows[index]!, this.highs[index]!);
  }
}

/** A compiled wording. */
export interface Program {
  /** Four numbers an operation: the operation and a, b, c. */
  readonly ops: Int32Array;
  readonly pool: Uint8Array;
  readonly tables: readonly WordTable[];
  /** Columns that the wording does not carry. */
  readonly nullColumns: readonly number[];
  /** The text is the kernel's own, which tells errno from reason (not libtraceevent's, which cannot). */
  readonly kernelText: boolean;
}

/** KVM_ISA_VMX, KVM_ISA_SVM: arch/x86/kvm/trace.h. */
const KVM_ISA_VMX = 1;
const KVM_ISA_SVM = 2;
/** enum exit reasons that a libtraceevent text also prints for interrupted runs: KVM_EXIT_UNKNOWN and KVM_EXIT_INTR. */
const AMBIGUOUS_EXITS = new Set([0, 10]);
const SPACE = 0x20;

/**
 * Runs a program on [cursor.pos, cursor.end), writing to the output's next row. True where the whole text fits; else the
 * row is to be written anew. The two operations that nearly all texts consist of are spelled out here.
 */
export function runProgram(program: Program, cursor: Cursor, output: Output): boolean {
  const { ops, pool, nullColumns } = program;
  const { buf, end } = cursor;
  let pos = cursor.pos;
  for (let at = 0; at < ops.length; at += 4) {
    const op = ops[at]!;
    const a = ops[at + 1]!;
    const b = ops[at + 2]!;
    if (op === OP.LITERAL) {
      const stop = a + b;
      if (pos + b > end) {
        pos = matchShortened(pool, a, stop, buf, pos, end);
        if (pos < 0) return false;
        continue;
      }
      for (let k = a; k < stop; k++, pos++) if (buf[pos] !== pool[k]) return false;
    } else if (op === OP.NUMBER) {
      while (pos < end && buf[pos] === SPACE) pos++;
      const isHex = b === 16 || (buf[pos] === 0x30 && buf[pos + 1] === 0x78);
      cursor.pos = isHex && buf[pos + 1] === 0x78 ? pos + 2 : pos;
      if (!(isHex ? readHex(cursor) : readDecimal(cursor))) {
        // a sign, or nothing that is a number
        cursor.pos = pos;
        if (!readNumber(cursor, b)) return false;
      }
      pos = cursor.pos;
      const shift = ops[at + 3]!;
      if (shift === 0) output.setNumber(a, cursor.lo, cursor.hi);
      else output.setNumber(a, (cursor.lo >>> shift) | (cursor.hi << (32 - shift)), cursor.hi >> shift);
    } else {
      cursor.pos = pos;
      if (!runRare(program, at, cursor, output)) return false;
      pos = cursor.pos;
    }
  }
  while (pos < end && buf[pos] === SPACE) pos++;
  if (pos !== end) return false;
  for (let k = 0; k < nullColumns.length; k++) output.setNull(nullColumns[k]!);
  return true;
}

/** A literal at the end of a line may lack its last blanks: editors and mailers take them off. Gives the position behind, or -1. */
function matchShortened(
  pool: Uint8Array,
  from: number,
  stop: number,
  buf: Uint8Array,
  pos: number,
  end: number,
): number {
  for (let k = from; k < stop; k++) {
    if (pos < end ? buf[pos++] !== pool[k] : pool[k] !== SPACE) return -1;
  }
  return pos;
}

function readPadded(cursor: Cursor, radix: number): boolean {
  while (cursor.pos < cursor.end && cursor.buf[cursor.pos] === SPACE) cursor.pos++;
  return readNumber(cursor, radix);
}

function runRare(program: Program, at: number, cursor: Cursor, output: Output): boolean {
  const { ops, tables, pool } = program;
  const a = ops[at + 1]!;
  const b = ops[at + 2]!;
  const c = ops[at + 3]!;
  const { buf } = cursor;
  switch (ops[at]) {
    case OP.SKIP_NUMBER:
      return readPadded(cursor, b);
    case OP.PART:
      return runPart(a, b, c, cursor, output);
    case OP.TASK:
      return runTask(a, b, cursor, output);
    case OP.POINTER:
      return runPointer(a, cursor, output);
    case OP.ADDRESS:
      return runAddress(a, pool, b, c, cursor, output);
    case OP.RAW_NUMBER:
      return runRawNumber(a, b, cursor, output);
    case OP.STRING:
    case OP.QUOTED:
    case OP.SKIP:
    case OP.BYTES: {
      const from = cursor.pos;
      const to = findLiteral(pool, b, c, cursor);
      if (to < 0) return false;
      cursor.pos = to;
      if (ops[at] === OP.STRING) output.setString(a, cursor, from, to);
      else if (ops[at] === OP.QUOTED) setQuoted(output, a, cursor, from, to);
      else if (ops[at] === OP.BYTES) output.setText(a, `ARRAY[${decode(buf, from, to).trim().split(' ').join(', ')}]`);
      return true;
    }
    case OP.CHOICE:
    case OP.OR_CHOICE: {
      const word = tables[b]!.findPrefix(buf, cursor.pos, cursor.end);
      if (word < 0) return false;
      cursor.pos += tables[b]!.wordLength(word);
      if (ops[at] === OP.OR_CHOICE) output.orNumber(a, Number(tables[b]!.value(word)), 0);
      else if (a >= 0) tables[b]!.store(word, output, a);
      return true;
    }
    case OP.FLAGS:
      return runFlags(a, tables[b]!, cursor, output);
    case OP.SYMBOL:
      return runSymbol(program, at, cursor, output);
    case OP.EXIT_REASON:
      return runExitReason(program, at, cursor, output);
    case OP.USERSPACE_EXIT:
      return runUserspaceExit(program, at, cursor, output);
    default:
      return false;
  }
}

function setValue(output: Output, column: number, value: bigint | null): void {
  if (value === null) output.setNull(column);
  else output.setNumber(column, Number(BigInt.asIntN(32, value)), Number(BigInt.asIntN(32, value >> 32n)));
}

function setQuoted(output: Output, column: number, cursor: Cursor, from: number, to: number): void {
  const isQuoted = to - from >= 2 && cursor.buf[from] === 0x22 && cursor.buf[to - 1] === 0x22;
  if (isQuoted) output.setString(column, cursor, from + 1, to - 1);
  else output.setString(column, cursor, from, to);
}

/** Position of the literal at or after the cursor, the end of the line for an empty one, or -1. */
function findLiteral(pool: Uint8Array, from: number, length: number, cursor: Cursor): number {
  const { buf, end } = cursor;
  if (length === 0) return end;
  const first = pool[from]!;
  for (let pos = cursor.pos; pos + length <= end; pos++) {
    if (buf[pos] !== first) continue;
    let k = 1;
    while (k < length && buf[pos + k] === pool[from + k]) k++;
    if (k === length) return pos;
  }
  return -1;
}

function runPart(column: number, mode: number, shift: number, cursor: Cursor, output: Output): boolean {
  if (!readPadded(cursor, mode & 255)) return false;
  const lo = shift >= 32 ? 0 : cursor.lo << shift;
  const hi =
    shift === 0
      ? cursor.hi
      : shift >= 32
        ? cursor.lo << (shift - 32)
        : (cursor.hi << shift) | (cursor.lo >>> (32 - shift));
  if (mode & 256) output.setNumber(column, lo, hi);
  else output.orNumber(column, lo, hi);
  return true;
}

function runPointer(column: number, cursor: Cursor, output: Output): boolean {
  const { buf } = cursor;
  while (cursor.pos < cursor.end && buf[cursor.pos] === SPACE) cursor.pos++;
  if (buf[cursor.pos] === 0x28) {
    const close = buf.indexOf(0x29, cursor.pos);
    if (close < 0 || close >= cursor.end) return false;
    // (null) of the kernel, (nil) of glibc; (____ptrval____), (efault) say nothing
    const isNull = buf[cursor.pos + 1] === 0x6e;
    cursor.pos = close + 1;
    if (isNull) output.setNumber(column, 0, 0);
    else output.setNull(column);
    return true;
  }
  if (!readNumber(cursor, 16)) return false;
  output.setNumber(column, cursor.lo, cursor.hi);
  return true;
}

function runAddress(
  column: number,
  pool: Uint8Array,
  from: number,
  length: number,
  cursor: Cursor,
  output: Output,
): boolean {
  const to = findLiteral(pool, from, length, cursor);
  if (to < 0) return false;
  // `trace-cmd report -R` prints ` (0x401540)`
  while (cursor.pos < to && (cursor.buf[cursor.pos] === SPACE || cursor.buf[cursor.pos] === 0x28)) cursor.pos++;
  if (
    cursor.buf[cursor.pos] === 0x30 &&
    readNumber(cursor, 16) &&
    (cursor.pos === to || cursor.buf[cursor.pos] === 0x29)
  ) {
    output.setNumber(column, cursor.lo, cursor.hi);
  } else output.setNull(column);
  cursor.pos = to;
  return true;
}

function runTask(comm: number, pid: number, cursor: Cursor, output: Output): boolean {
  const { buf, end } = cursor;
  const from = cursor.pos;
  let to = from;
  while (to + 1 < end && !(buf[to] === SPACE && buf[to + 1] === 0x5b)) to++;
  let colon = to - 1;
  while (colon > from && isDigit(buf[colon]!)) colon--;
  if (colon <= from || buf[colon] !== 0x3a) return false;
  cursor.pos = colon + 1;
  if (!readNumber(cursor, 10)) return false;
  output.setString(comm, cursor, from, colon);
  output.setNumber(pid, cursor.lo, cursor.hi);
  return true;
}

/** `5`, `0x5`, `ffff8888`, `0x5 (5)`, ` (0x401540)`. */
function runRawNumber(column: number, radix: number, cursor: Cursor, output: Output): boolean {
  const { buf } = cursor;
  while (cursor.pos < cursor.end && buf[cursor.pos] === SPACE) cursor.pos++;
  const inParentheses = buf[cursor.pos] === 0x28;
  if (inParentheses) cursor.pos++;
  // (nil) of glibc, (null) of the kernel; (fault) of a probe that could not read
  if (inParentheses && (buf[cursor.pos] === 0x6e || buf[cursor.pos] === 0x66)) {
    const close = buf.indexOf(0x29, cursor.pos);
    if (close < 0 || close >= cursor.end) return false;
    if (buf[cursor.pos] === 0x6e) output.setNumber(column, 0, 0);
    else output.setNull(column);
    cursor.pos = close + 1;
    return true;
  }
  if (!readNumber(cursor, radix)) return false;
  output.setNumber(column, cursor.lo, cursor.hi);
  if (inParentheses) return buf[cursor.pos++] === 0x29;
  if (cursor.pos + 2 < cursor.end && buf[cursor.pos] === SPACE && buf[cursor.pos + 1] === 0x28) {
    const close = buf.indexOf(0x29, cursor.pos);
    if (close >= 0 && close < cursor.end) cursor.pos = close + 1;
  }
  return true;
}

function runFlags(column: number, table: WordTable, cursor: Cursor, output: Output): boolean {
  const { buf } = cursor;
  const delimiter = table.delimiter.charCodeAt(0);
  let value: bigint | null = 0n;
  for (let isFirst = true; ; isFirst = false) {
    const word = table.findPrefix(buf, cursor.pos, cursor.end);
    if (word >= 0) {
      const bits = table.value(word);
      value = value === null || bits === null ? null : value | bits;
      cursor.pos += table.wordLength(word);
    } else if (readNumber(cursor, 16)) {
      const bits = (BigInt(cursor.hi >>> 0) << 32n) | BigInt(cursor.lo >>> 0);
      value = value === null ? null : value | bits;
    } else if (!isFirst) return false;
    if (buf[cursor.pos] !== delimiter || cursor.pos + 1 >= cursor.end) break;
    cursor.pos++;
  }
  if (column >= 0) setValue(output, column, value);
  return true;
}

/** End of the segment before the LITERAL whose operands are at ops[index]; the line's end without trailing blanks for -1. */
function segmentEnd(program: Program, index: number, cursor: Cursor): number {
  if (index >= 0) return findLiteral(program.pool, program.ops[index]!, program.ops[index + 1]!, cursor);
  let to = cursor.end;
  while (to > cursor.pos && cursor.buf[to - 1] === SPACE) to--;
  return to;
}

function runSymbol(program: Program, at: number, cursor: Cursor, output: Output): boolean {
  const column = program.ops[at + 1]!;
  const table = program.tables[program.ops[at + 2]!]!;
  const from = cursor.pos;
  const to = segmentEnd(program, program.ops[at + 3]!, cursor);
  if (to < 0) return false;
  const word = table.find(cursor.buf, from, to);
  if (word >= 0) {
    cursor.pos = to;
    if (column >= 0) table.store(word, output, column);
    return true;
  }
  // __print_symbolic prints what it has no name for as 0x…
  if (!readNumber(cursor, 16) || cursor.pos !== to) return false;
  if (column >= 0) output.setNumber(column, cursor.lo, cursor.hi);
  return true;
}

/** `npf`, `EXIT_NPF`, `INVALID_STATE FAILED_VMENTRY`, `UNKNOWN (131072)`, `0x2f`: see arch/x86/kvm/trace.h:kvm_print_exit_reason. */
function runExitReason(program: Program, at: number, cursor: Cursor, output: Output): boolean {
  const { buf } = cursor;
  const reason = program.ops[at + 1]!;
  const isa = program.ops[at + 2]! >> 8;
  const first = program.ops[at + 2]! & 255;
  const from = cursor.pos;
  const to = segmentEnd(program, program.ops[at + 3]!, cursor);
  if (to < 0) return false;
  for (let k = 0; k < 2; k++) {
    const table = program.tables[first + k]!;
    const word = table.find(buf, from, to);
    if (word < 0) continue;
    cursor.pos = to;
    table.store(word, output, reason);
    output.setNumber(isa, k === 0 ? KVM_ISA_VMX : KVM_ISA_SVM, 0);
    return true;
  }
  return runOddExitReason(program, first, from, to, reason, isa, cursor, output);
}

function runOddExitReason(
  program: Program,
  first: number,
  from: number,
  to: number,
  reason: number,
  isa: number,
  cursor: Cursor,
  output: Output,
): boolean {
  const text = decode(cursor.buf, from, to);
  cursor.pos = to;
  const flagged = /^(\S+) (.+)$/.exec(text);
  const unknown = /^(?:UNKNOWN \((\d+)\)|(0x[0-9a-f]+))$/.exec(text);
  if (unknown) {
    setValue(output, reason, BigInt(unknown[1] ?? unknown[2]!));
    output.setNull(isa);
    return true;
  }
  if (!flagged) return false;
  const name = Buffer.from(flagged[1]!);
  const base = program.tables[first]!.find(name, 0, name.length);
  let value = base < 0 ? null : program.tables[first]!.value(base);
  for (const flag of flagged[2]!.split(/[ |]/)) {
    const bytes = Buffer.from(flag);
    const bits = program.tables[first + 2]!.find(bytes, 0, bytes.length);
    const bit = bits >= 0 ? program.tables[first + 2]!.value(bits) : null;
    value = value === null || bit === null ? null : value | bit;
  }
  if (value === null) return false;
  setValue(output, reason, value);
  output.setNumber(isa, KVM_ISA_VMX, 0);
  return true;
}

/**
 * `error (14)`, `restart (4)`: the errno, the reason is not told. `KVM_EXIT_IO (2)`, `0x27 (39)`: the reason; the
 * kernel prints it only where errno is not negative, libtraceevent always (it takes errno as unsigned), so there errno
 * is unknown for reasons without name (KVM_EXIT_MEMORY_FAULT always fails) and for what interrupted runs leave behind.
 */
function runUserspaceExit(program: Program, at: number, cursor: Cursor, output: Output): boolean {
  const reason = program.ops[at + 1]!;
  const errno = program.ops[at + 2]!;
  const table = program.tables[program.ops[at + 3]!]!;
  const { buf } = cursor;
  const from = cursor.pos;
  const open = buf.indexOf(0x28, from);
  if (open < from + 2 || open >= cursor.end || !isDigit(buf[open + 1]!)) return false;
  const word = table.find(buf, from, open - 1);
  const isErrno = word >= 0 && table.value(word) === null;
  const isNumber = buf[from] === 0x30;
  cursor.pos = open + 1;
  if ((word < 0 && !isNumber) || !readNumber(cursor, 10) || buf[cursor.pos++] !== 0x29) return false;
  if (isErrno) {
    output.setNumber(errno, -cursor.lo, -1);
    output.setNull(reason);
    return true;
  }
  output.setNumber(reason, cursor.lo, cursor.hi);
  if (program.kernelText || (word >= 0 && !AMBIGUOUS_EXITS.has(cursor.lo))) output.setNumber(errno, 0, 0);
  else output.setNull(errno);
  return true;
}

/** Skips what trace-cmd's x86 plugin complains before the text of other machines' events. */
export function skipComplaints(cursor: Cursor): void {
  const { buf, end } = cursor;
  for (;;) {
    while (cursor.pos < end && buf[cursor.pos] === SPACE) cursor.pos++;
    const byte = buf[cursor.pos]!;
    // <CANT FIND FIELD exit_reason>, CAN'T FIND FIELD "vcpu_id", [FAILED TO PARSE]
    if (byte !== 0x3c && byte !== 0x43 && byte !== 0x5b) return;
    const text = decode(buf, cursor.pos, Math.min(end, cursor.pos + 120));
    const complaint = /^(?:<CANT FIND FIELD [^>]*>|CAN'T FIND FIELD "[^"]*"|\[FAILED TO PARSE\])/.exec(text);
    if (!complaint) return;
    cursor.pos += Buffer.byteLength(complaint[0]);
  }
}
