/** Expression trees → closures, with C's integer semantics as on the kernel that wrote the trace. */
import { assertNever } from '../../base/errors.js';
import { commonType, integerType, promote, S32, U64, wrap, type CType, type IntType } from './c-types.js';
import { compileCall } from './functions.js';
import type { Node } from './parser.js';
import { compileStatement } from './statement.js';
import {
  arrayReader,
  asText,
  fieldType,
  numberOf,
  storedType,
  textOf,
  type Compiled,
  type CompiledInt,
  type Context,
  type FieldGetter,
} from './value.js';

/** Compiles one expression. What cannot be evaluated comes back as `unknown` with the reason. */
export function compileNode(node: Node, context: Context): Compiled {
  switch (node.k) {
    case 'num':
      return constant(node.value, literalType(node.value, node.suffix, node.hex, context.longBits));
    case 'str':
      return { kind: 'str', eval: () => node.value };
    case 'id':
      return compileName(node.name, context);
    case 'field':
      return compileField(node.name, context);
    case 'member':
      return unknown(`member "${node.name}" of a structure`);
    case 'index':
      return compileIndex(node.base, node.index, context);
    case 'call':
      return compileCall(node.name, node.args, context, compileNode);
    case 'list':
      return unknown('a list where a value is expected');
    case 'unary':
      return compileUnary(node.op, node.arg, context);
    case 'binary':
      return compileBinary(node.op, compileNode(node.a, context), compileNode(node.b, context));
    case 'cond':
      return compileConditional(node, context);
    case 'cast':
      return compileCast(node.type, compileNode(node.arg, context));
    case 'sizeof':
      return constant(node.bytes, { bits: context.longBits, signed: false });
    case 'stmt':
      return compileStatement(node.body, context, compileNode);
    case 'unsupported':
      return unknown(node.why);
    default:
      return assertNever(node);
  }
}

function compileName(name: string, context: Context): Compiled {
  const value = context.constants.get(name);
  if (value !== undefined) return constant(value, S32);
  return name === 'NULL' ? constant(0n, U64) : unknown(`"${name}" has no known value`);
}

/** An integer that never changes. */
export function constant(value: bigint, type: IntType): CompiledInt {
  const wrapped = wrap(value, type);
  return { kind: 'int', type, constant: wrapped, eval: () => wrapped };
}

function unknown(why: string): Compiled {
  return { kind: 'unknown', why };
}

function computed(type: IntType, parts: readonly CompiledInt[], evaluate: (get: FieldGetter) => bigint): CompiledInt {
  if (parts.every((part) => part.constant !== null))
    return constant(
      evaluate(() => null),
      type,
    );
  return { kind: 'int', type, constant: null, eval: evaluate };
}

function literalType(value: bigint, suffix: string, hex: boolean, longBits: 32 | 64): IntType {
  const unsigned = suffix.includes('u');
  const least = suffix.includes('ll') ? 64 : suffix.includes('l') ? longBits : 32;
  for (const bits of [32, 64] as const) {
    if (bits < least) continue;
    if (!unsigned && value < 1n << BigInt(bits - 1)) return { bits, signed: true };
    if ((unsigned || hex) && value < 1n << BigInt(bits)) return { bits, signed: false };
  }
  return U64;
}

function compileField(name: string, context: Context): Compiled {
  const field = context.fields.get(name);
  if (!field) {
    const first = context.fields.get(`${name}_0`);
    const element = first && storedType(first);
    if (element) return { kind: 'array', element, eval: arrayReader(name, context), field: name };
    return unknown(`field "${name}" is not in the event`);
  }
  const type = fieldType(field, context.longBits);
  if (!type) {
    if (!/\[/.test(field.cType) || /char\s*\[/.test(field.cType)) {
      return { kind: 'str', eval: (get) => textOf(get(name)), field: name };
    }
    const words = field.cType
      .replace(/\[.*$/, '')
      .replace(/__data_loc|__rel_loc/, '')
      .trim()
      .split(/\s+/);
    const element = integerType(words, context.longBits) ?? U64;
    return { kind: 'array', element, eval: arrayReader(name, context), field: name };
  }
  const stored = storedType(field);
  if (stored && stored.bits === type.bits && stored.signed === type.signed) {
    return { kind: 'int', type, constant: null, eval: (get) => numberOf(get(name)), field: name };
  }
  return { kind: 'int', type, constant: null, eval: (get) => wrap(numberOf(get(name)), type), field: name };
}

function compileIndex(base: Node, index: Node, context: Context): Compiled {
  const array = compileNode(base, context);
  const at = compileNode(index, context);
  if (array.kind === 'unknown') return array;
  if (at.kind === 'unknown') return at;
  if (at.kind !== 'int') return unknown('an index that is no number');
  if (array.kind === 'str') {
    return computed(S32, [at], (get) => BigInt(new TextEncoder().encode(array.eval(get))[Number(at.eval(get))] ?? 0));
  }
  if (array.kind !== 'array') return unknown('an index into something that is no array');
  const read = (get: FieldGetter) => numberOf(array.eval(get)[Number(at.eval(get))] ?? null);
  return { kind: 'int', type: array.element, constant: null, eval: read };
}

function compileUnary(op: string, arg: Node, context: Context): Compiled {
  const inner = compileNode(arg, context);
  if (inner.kind === 'unknown' || op === '&') return inner;
  if (op === '*') {
    if (inner.kind !== 'array') return unknown('a pointer that is followed');
    return { kind: 'int', type: inner.element, constant: null, eval: (get) => numberOf(inner.eval(get)[0] ?? null) };
  }
  if (op === '!') {
    const test = truth(inner);
    if (inner.kind === 'int') return computed(S32, [inner], (get) => (test(get) ? 0n : 1n));
    return { kind: 'int', type: S32, constant: null, eval: (get) => (test(get) ? 0n : 1n) };
  }
  if (inner.kind !== 'int') return unknown(`"${op}" on something that is no number`);
  const type = promote(inner.type);
  if (op === '-') return computed(type, [inner], (get) => wrap(-inner.eval(get), type));
  if (op === '~') return computed(type, [inner], (get) => wrap(~inner.eval(get), type));
  return computed(type, [inner], (get) => wrap(inner.eval(get), type));
}

/** Whether an expression is not zero; a text or an array is a pointer that is set. */
function truth(value: Exclude<Compiled, { kind: 'unknown' }>): (get: FieldGetter) => boolean {
  return value.kind === 'int' ? (get) => value.eval(get) !== 0n : () => true;
}

type Arithmetic = (a: bigint, b: bigint) => bigint;

const ARITHMETIC: Readonly<Record<string, Arithmetic>> = {
  '+': (a, b) => a + b,
  '-': (a, b) => a - b,
  '*': (a, b) => a * b,
  '/': (a, b) => (b === 0n ? 0n : a / b),
  '%': (a, b) => (b === 0n ? 0n : a % b),
  '&': (a, b) => a & b,
  '|': (a, b) => a | b,
  '^': (a, b) => a ^ b,
};

const COMPARISON: Readonly<Record<string, (a: bigint, b: bigint) => boolean>> = {
  '==': (a, b) => a === b,
  '!=': (a, b) => a !== b,
  '<': (a, b) => a < b,
  '>': (a, b) => a > b,
  '<=': (a, b) => a <= b,
  '>=': (a, b) => a >= b,
};

function compileBinary(op: string, a: Compiled, b: Compiled): Compiled {
  if (a.kind === 'unknown') return a;
  if (b.kind === 'unknown') return b;
  if (op === '&&' || op === '||') {
    const left = truth(a);
    const right = truth(b);
    const both = op === '&&';
    const run = (get: FieldGetter) => ((both ? left(get) && right(get) : left(get) || right(get)) ? 1n : 0n);
    return { kind: 'int', type: S32, constant: null, eval: run };
  }
  if (a.kind !== 'int' || b.kind !== 'int') return unknown(`"${op}" on something that is no number`);
  if (op === '<<' || op === '>>') return compileShift(op, a, b);
  const type = commonType(a.type, b.type);
  const compare = COMPARISON[op];
  if (compare) {
    return computed(S32, [a, b], (get) => (compare(wrap(a.eval(get), type), wrap(b.eval(get), type)) ? 1n : 0n));
  }
  const calculate = ARITHMETIC[op];
  if (!calculate) return unknown(`operator "${op}"`);
  return computed(type, [a, b], (get) => wrap(calculate(wrap(a.eval(get), type), wrap(b.eval(get), type)), type));
}

function compileShift(op: string, a: CompiledInt, b: CompiledInt): Compiled {
  const type = promote(a.type);
  // x86 and arm64 take the count modulo the width; it also keeps a crafted count from making a huge number
  const mask = BigInt(type.bits - 1);
  if (op === '<<') return computed(type, [a, b], (get) => wrap(a.eval(get) << (b.eval(get) & mask), type));
  return computed(type, [a, b], (get) => wrap(a.eval(get), type) >> (b.eval(get) & mask));
}

function compileConditional(node: Extract<Node, { k: 'cond' }>, context: Context): Compiled {
  const test = compileNode(node.test, context);
  if (test.kind === 'unknown') return test;
  const yes = node.yes ? compileNode(node.yes, context) : test;
  const no = compileNode(node.no, context);
  if (test.kind === 'int' && test.constant !== null) return test.constant !== 0n ? yes : no;
  if (yes.kind === 'unknown') return yes;
  if (no.kind === 'unknown') return no;
  const holds = truth(test);
  if (yes.kind === 'int' && no.kind === 'int') {
    const type = commonType(yes.type, no.type);
    const run = (get: FieldGetter) => wrap(holds(get) ? yes.eval(get) : no.eval(get), type);
    return { kind: 'int', type, constant: null, eval: run };
  }
  if (yes.kind === 'array' && no.kind === 'array') {
    return { kind: 'array', element: yes.element, eval: (get) => (holds(get) ? yes.eval(get) : no.eval(get)) };
  }
  const yesText = asText(yes);
  const noText = asText(no);
  return { kind: 'str', eval: (get) => (holds(get) ? yesText(get) : noText(get)) };
}

function compileCast(type: CType, inner: Compiled): Compiled {
  if (inner.kind === 'array' && type.kind === 'pointer') {
    return type.element && type.element.bits === inner.element.bits ? { ...inner, element: type.element } : inner;
  }
  if (inner.kind !== 'int' || type.kind === 'opaque') return inner;
  const to = type.kind === 'int' ? type.int : U64;
  if (inner.constant !== null) return constant(inner.constant, to);
  // a narrower cast changes the value; a wider one keeps the field and its sign
  return { ...inner, type: to, eval: (get) => wrap(inner.eval(get), to) };
}
