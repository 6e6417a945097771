/** The kernel's print fmt of an event, turned around: a program that reads the fields back from what it prints. */
import type { EventFormat } from '../event-format.js';
import { planFields } from '../event-format.js';
import { splitFormat } from '../print-fmt/conversion.js';
import type { Conversion } from '../print-fmt/conversion.js';
import { parsePrintFmt } from '../print-fmt/parser.js';
import type { Node } from '../print-fmt/parser.js';
import { CONSTANTS, HYP_REASONS, SVM_PLUGIN_NAMES, VMX_OTHER_NAMES } from './constants.js';
import { OP } from './program.js';
import type { Program } from './program.js';
import { ProgramBuilder } from './program-builder.js';

type Entries = (readonly [string, bigint | null])[];

/** A call of __print_symbolic or __print_flags within an argument. */
interface Names {
  readonly kind: 'symbolic' | 'flags';
  readonly value: Node;
  readonly delimiter: string;
  readonly entries: Entries;
}

/** What of one event a compilation needs. */
export interface EventColumns {
  readonly format: EventFormat;
  /** Column number by name. */
  readonly columns: ReadonlyMap<string, number>;
  readonly types: readonly string[];
}

export function eventColumns(format: EventFormat): EventColumns {
  const specs = planFields(format).map((plan) => plan.spec);
  return {
    format,
    columns: new Map(specs.map((spec, k) => [spec.name, k])),
    types: specs.map((spec) => spec.type),
  };
}

/** @returns null where the event has no print fmt or one that cannot be parsed */
export function compilePrintFmt(event: EventColumns, kernelText: boolean): Program | null {
  if (!event.format.printFmt) return null;
  let parsed;
  try {
    parsed = parsePrintFmt(event.format.printFmt, 64);
  } catch {
    return null;
  }
  const compiler = new Compiler(event);
  compiler.text(parsed.format, parsed.args);
  return compiler.builder.build(event.types.length, kernelText);
}

/** Radix in which the print fmt prints each column first; for `trace-cmd report -R`, which prints fields the same way. */
export function printedRadixes(event: EventColumns): Map<number, 10 | 16> {
  const radixes = new Map<number, 10 | 16>();
  let parsed;
  try {
    parsed = parsePrintFmt(event.format.printFmt ?? '', 64);
  } catch {
    return radixes;
  }
  const conversions = splitFormat(parsed.format).filter((piece) => typeof piece !== 'string');
  conversions.forEach((conversion, k) => {
    const arg = parsed.args[k];
    if (!arg) return;
    for (const name of fieldsOf(arg)) {
      const column = event.columns.get(name);
      if (column === undefined || radixes.has(column)) continue;
      radixes.set(column, conversion.type === 'x' || conversion.type === 'X' || conversion.type === 'p' ? 16 : 10);
    }
  });
  return radixes;
}

/** Names of all fields that an expression uses. */
function fieldsOf(node: Node): string[] {
  switch (node.k) {
    case 'field':
      return [node.name];
    case 'member':
      return fieldsOf(node.base);
    case 'index':
      return node.base.k === 'field' && node.index.k === 'num' ? [`${node.base.name}_${node.index.value}`] : [];
    case 'call':
      return node.args.flatMap(fieldsOf);
    case 'list':
      return node.items.flatMap(fieldsOf);
    case 'unary':
    case 'cast':
      return fieldsOf(node.arg);
    case 'binary':
      return [...fieldsOf(node.a), ...fieldsOf(node.b)];
    case 'cond':
      return [node.test, ...(node.yes ? [node.yes] : []), node.no].flatMap(fieldsOf);
    default:
      return [];
  }
}

class Compiler {
  readonly builder = new ProgramBuilder();
  private readonly event: EventColumns;

  constructor(event: EventColumns) {
    this.event = event;
  }

  text(format: string, args: readonly Node[]): void {
    const pieces = splitFormat(format);
    let arg = 0;
    for (let k = 0; k < pieces.length; k++) {
      const piece = pieces[k]!;
      if (typeof piece === 'string') {
        const next = pieces[k + 1];
        const isHex = next !== undefined && typeof next !== 'string' && next.type === 'x';
        // NUMBER reads 0x itself: the kernel's syscall text leaves it out of small numbers
        this.builder.literal(isHex && piece.endsWith('0x') ? piece.slice(0, -2) : piece);
        continue;
      }
      if (piece.width === '*') arg++;
      const node = args[arg++];
      if (!node) return;
      const taken = this.special(node, args.slice(arg), pieces, k);
      if (!taken) this.argument(piece, node);
      else {
        k += taken.pieces - 1;
        arg += taken.args - 1;
      }
    }
  }

  /** Arguments of which several together tell the fields; gives how many pieces and arguments it took, null where it is none. */
  private special(
    node: Node,
    rest: readonly Node[],
    pieces: readonly (string | Conversion)[],
    at: number,
  ): { readonly pieces: number; readonly args: number } | null {
    const { columns } = this.event;
    const errno = columns.get('errno');
    const reason = columns.get('reason');
    if (this.event.format.name === 'kvm_userspace_exit' && errno !== undefined && reason !== undefined) {
      const names = findNames(node, 'symbolic');
      if (!names) return null;
      const table = this.builder.table([...names.entries, ['error', null], ['restart', null]]);
      this.builder.add(OP.USERSPACE_EXIT, reason, errno, table, errno);
      return { pieces: pieces.length - at, args: rest.length + 1 };
    }
    const isa = columns.get('isa');
    if (isa === undefined || node.k !== 'cond' || !node.yes) return null;
    const vmx = findNames(node.yes, 'symbolic');
    const svm = findNames(node.no, 'symbolic');
    const column = vmx ? columns.get(fieldsOf(vmx.value)[0] ?? '') : undefined;
    if (!vmx || !svm || column === undefined) return null;
    const flags = rest[1] ? findNames(rest[1], 'flags') : null;
    this.exitReason(column, isa, vmx.entries, svm.entries, flags?.entries ?? []);
    const isTriple = flags !== null && typeof pieces[at + 1] !== 'string' && typeof pieces[at + 2] !== 'string';
    return isTriple ? { pieces: 3, args: 3 } : { pieces: 1, args: 1 };
  }

  private exitReason(column: number, isa: number, vmx: Entries, svm: Entries, flags: Entries): void {
    const first = this.builder.table([...vmx, ...VMX_OTHER_NAMES]);
    // the plugin names SVM reasons EXIT_NPF where the kernel says npf
    this.builder.table([...svm, ...SVM_PLUGIN_NAMES]);
    this.builder.table(flags);
    this.builder.add(OP.EXIT_REASON, column, first | (isa << 8), 0, isa);
  }

  private argument(conversion: Conversion, node: Node): void {
    if (conversion.type === 's') this.stringArgument(node);
    else if (conversion.type === 'c') this.characterArgument(node);
    else if (conversion.type === 'p') this.pointerArgument(conversion, node);
    else this.numberArgument(conversion, node);
  }

  /** Arrays of words that a statement expression defines. */
  private words: ReadonlyMap<string, readonly string[]> = new Map();

  private column(node: Node): number | undefined {
    const plain = uncast(node);
    if (plain.k === 'field') return this.event.columns.get(plain.name);
    return plain.k === 'index' ? this.event.columns.get(fieldsOf(plain)[0] ?? '') : undefined;
  }

  private numberArgument(conversion: Conversion, node: Node): void {
    const radix = conversion.type === 'x' || conversion.type === 'X' ? 16 : 10;
    const value = uncast(node);
    const column = this.column(value);
    if (column !== undefined && !isCut(node, this.event.types[column]!)) {
      this.builder.add(OP.NUMBER, column, radix);
      return;
    }
    if (value.k === 'binary') {
      const by = constant(value.b);
      const target = this.column(value.a);
      if (target !== undefined && by !== null && value.op === '<<' && by < 32n) {
        this.builder.add(OP.NUMBER, target, radix, Number(by));
        return;
      }
      const part = this.part(value);
      if (part) {
        this.builder.add(OP.PART, part.column, radix | (part.isFirst ? 256 : 0), part.shift);
        return;
      }
    }
    this.builder.add(OP.SKIP_NUMBER, -1, radix);
  }

  private readonly startedParts = new Set<number>();

  /** `s_dev >> 20` and `s_dev & 0xfffff`: parts that together are the whole number (device numbers). */
  private part(node: Node & { k: 'binary' }): { column: number; shift: number; isFirst: boolean } | null {
    const column = this.column(node.a);
    const by = constant(node.b);
    if (column === undefined || by === null || !(node.op === '>>' || node.op === '&')) return null;
    if (!/_dev$|^dev$/.test(fieldsOf(node.a)[0] ?? '')) return null;
    const isFirst = !this.startedParts.has(column);
    this.startedParts.add(column);
    return { column, shift: node.op === '>>' ? Number(by) : 0, isFirst };
  }

  private pointerArgument(conversion: Conversion, node: Node): void {
    const column = this.column(node);
    if (column === undefined) this.builder.skip();
    else if (conversion.extension === '' || /^[Kx]$/.test(conversion.extension)) this.builder.add(OP.POINTER, column);
    else if (/^[sS]/.test(conversion.extension)) this.builder.add(OP.ADDRESS, column);
    else this.builder.skip();
  }

  private characterArgument(node: Node): void {
    // the role of a shadow page ends with %c of 0, which prints nothing
    if (node.k === 'num' && node.value === 0n) return;
    if (!this.choice(node, (part) => (part.k === 'num' ? String.fromCharCode(Number(part.value)) : null))) {
      this.builder.skip();
    }
  }

  private stringArgument(node: Node): void {
    const value = uncast(node);
    if (value.k === 'stmt') {
      this.words = value.body.tables;
      this.text(value.body.format, value.body.args);
      return;
    }
    const words = value.k === 'index' && value.base.k === 'id' ? this.words.get(value.base.name) : undefined;
    if (words) {
      this.builder.add(OP.CHOICE, -1, this.builder.table(words.map((word) => [word, null])));
      return;
    }
    const column = this.column(value);
    if (column !== undefined && this.event.types[column] === 'string') {
      this.builder.add(OP.STRING, column);
      return;
    }
    if (value.k === 'call' && this.call(value)) return;
    if (value.k === 'cond') {
      const zero = value.no.k === 'str' ? value.no.value : null;
      const names = value.yes ? ownNames(value.yes) : null;
      if (names && this.names(names, zero)) return;
      if (this.choice(value, (part) => (part.k === 'str' ? part.value : null))) return;
    }
    this.builder.skip();
  }

  private call(node: Node & { k: 'call' }): boolean {
    const names = ownNames(node);
    if (names) return this.names(names, null);
    const argument = node.args[0];
    if (!argument) return false;
    if (/^__get_(?:rel_)?str$/.test(node.name)) {
      const column = argument.k === 'id' ? this.event.columns.get(argument.name) : undefined;
      if (column !== undefined) this.builder.add(OP.STRING, column);
      return column !== undefined;
    }
    const column = this.column(argument);
    if (column === undefined) return false;
    if (node.name === '__print_hex' && this.event.types[column] === 'string') this.builder.add(OP.BYTES, column);
    else if (node.name === '__hyp_enter_exit_reason_str') {
      this.builder.add(OP.SYMBOL, column, this.builder.table(HYP_REASONS));
    } else if (node.name === 'str_on_off') {
      const table = this.builder.table([
        ['on', 1n],
        ['off', 0n],
      ]);
      this.builder.add(OP.CHOICE, column, table);
    } else return false;
    return true;
  }

  private names(names: Names, zero: string | null): boolean {
    const value = uncast(names.value);
    const masked = value.k === 'binary' && value.op === '&' ? value.a : value;
    const column = this.column(masked);
    if (column === undefined) return false;
    const entries: Entries = zero === null ? names.entries : [...names.entries, [zero, 0n]];
    if (names.kind === 'symbolic') {
      // a masked symbol tells a part of the field only
      const whole = masked === value;
      this.builder.add(OP.SYMBOL, whole ? column : -1, this.builder.table(entries));
    } else {
      // where the number was printed before the names, it is the better source
      const target = this.builder.writes(column) ? -1 : column;
      this.builder.add(OP.FLAGS, target, this.builder.table(entries, names.delimiter));
    }
    return true;
  }

  /** `REC->rw ? "write" : "read"`: the word tells the field where the test is the field itself. */
  private choice(node: Node, wordOf: (part: Node) => string | null): boolean {
    if (node.k !== 'cond' || !node.yes) return false;
    const yes = wordOf(node.yes);
    const no = wordOf(node.no);
    if (yes === null || no === null) return false;
    const test = uncast(node.test);
    const negated = test.k === 'unary' && test.op === '!';
    const bit = test.k === 'binary' && test.op === '&' ? this.column(test.a) : undefined;
    if (bit !== undefined && this.flagBit(test as Node & { k: 'binary' }, bit, yes, no)) return true;
    const column = this.column(negated ? test.arg : test) ?? -1;
    const table = this.builder.table([
      [yes, negated ? 0n : 1n],
      [no, negated ? 1n : 0n],
    ]);
    this.builder.add(OP.CHOICE, column, table);
    return true;
  }

  private flagBit(test: Node & { k: 'binary' }, column: number, yes: string, no: string): boolean {
    const mask = constant(test.b);
    if (mask === null || !(yes === '+' && no === '')) return false;
    // sched_switch: the names of prev_state, then + for the bit above them (preempted)
    const table = this.builder.table([
      [yes, mask],
      [no, 0n],
    ]);
    this.builder.add(OP.OR_CHOICE, column, table);
    return true;
  }
}

function uncast(node: Node): Node {
  return node.k === 'cast' ? uncast(node.arg) : node;
}

/** Whether a cast leaves bits of the field out. */
function isCut(node: Node, type: string): boolean {
  if (node.k !== 'cast') return false;
  const bits = Number(/\d+$/.exec(type)?.[0] ?? 8);
  return (node.type.kind === 'int' && node.type.int.bits < bits) || isCut(node.arg, type);
}

/** A constant expression's value; null where it has names that are not known here. */
export function constant(node: Node): bigint | null {
  switch (node.k) {
    case 'num':
      return node.value;
    case 'id':
      return CONSTANTS.get(node.name) ?? null;
    case 'cast':
      return constant(node.arg);
    case 'unary': {
      const value = constant(node.arg);
      return value === null
        ? null
        : node.op === '-'
          ? -value
          : node.op === '~'
            ? ~value
            : node.op === '+'
              ? value
              : null;
    }
    case 'binary': {
      const a = constant(node.a);
      const b = constant(node.b);
      return a === null || b === null ? null : calculate(node.op, a, b);
    }
    default:
      return null;
  }
}

function calculate(op: string, a: bigint, b: bigint): bigint | null {
  switch (op) {
    case '<<':
      return b >= 0n && b < 64n ? a << b : null;
    case '>>':
      return b >= 0n && b < 64n ? a >> b : null;
    case '|':
      return a | b;
    case '&':
      return a & b;
    case '+':
      return a + b;
    case '-':
      return a - b;
    case '*':
      return a * b;
    default:
      return null;
  }
}

/** The call itself, where the node is one of __print_symbolic, __print_flags. */
function ownNames(node: Node): Names | null {
  if (node.k !== 'call') return null;
  const isFlags = /^__print_flags/.test(node.name);
  if (!isFlags && !/^__print_symbolic/.test(node.name)) return null;
  const [value, ...rest] = node.args;
  const delimiter = isFlags && rest[0]?.k === 'str' ? rest[0].value : '';
  if (!value) return null;
  const entries: Entries = [];
  for (const item of rest) {
    if (item.k !== 'list') continue;
    const [number, name] = item.items;
    if (number && name?.k === 'str') entries.push([name.value, constant(number)]);
  }
  return { kind: isFlags ? 'flags' : 'symbolic', value, delimiter, entries };
}

/** The first such call anywhere within. */
function findNames(node: Node, kind: Names['kind']): Names | null {
  const own = ownNames(node);
  if (own?.kind === kind) return own;
  const inner =
    node.k === 'cond' ? [node.test, ...(node.yes ? [node.yes] : []), node.no] : node.k === 'cast' ? [node.arg] : [];
  for (const part of inner) {
    const found = findNames(part, kind);
    if (found) return found;
  }
  return null;
}
