/** The functions that print fmts call: trace helpers (include/trace/stages/stage3_trace_output.h) and a few of the kernel's. */
import { S32, U32, U64, wrap } from './c-types.js';
import type { Node } from './parser.js';
import { arrayReader, NoNumber, type Compiled, type CompiledInt, type Context, type FieldGetter } from './value.js';

type CompileNode = (node: Node, context: Context) => Compiled;

interface Call {
  readonly name: string;
  readonly args: readonly Node[];
  readonly context: Context;
  readonly compile: CompileNode;
}

/** Compiles a call; an unknown function comes back as `unknown`. */
export function compileCall(name: string, args: readonly Node[], context: Context, compile: CompileNode): Compiled {
  const compiler = Object.hasOwn(FUNCTIONS, name) ? FUNCTIONS[name] : undefined;
  if (!compiler) return { kind: 'unknown', why: `function ${name}() is not known` };
  return compiler({ name, args, context, compile });
}

function argument(call: Call, at: number): Compiled {
  const node = call.args[at];
  return node ? call.compile(node, call.context) : { kind: 'unknown', why: `${call.name}() lacks an argument` };
}

function dynamicName(call: Call): string | null {
  const node = call.args[0];
  return node?.k === 'id' || node?.k === 'field' ? node.name : null;
}

/** `__get_str(x)` and all that name a variable-length field. */
function dynamicField(call: Call): Compiled {
  const name = dynamicName(call);
  if (name === null) return { kind: 'unknown', why: `${call.name}() of something that is no field` };
  return call.compile({ k: 'field', name }, call.context);
}

function dynamicLength(call: Call): Compiled {
  const name = dynamicName(call);
  if (name === null) return { kind: 'unknown', why: `${call.name}() of something that is no field` };
  const read = arrayReader(name, call.context);
  return { kind: 'int', type: S32, constant: null, eval: (get) => BigInt(read(get).length) };
}

interface Pair {
  readonly value: bigint;
  readonly name: string;
}

/** The `{value, "name"}` list of a call. An entry whose value needs an enum that the trace does not define is left out. */
function pairs(call: Call, from: number, bits: 32 | 64): Pair[] {
  const result: Pair[] = [];
  for (const node of call.args.slice(from)) {
    if (node.k !== 'list') continue;
    const [valueNode, nameNode] = node.items;
    if (!valueNode || nameNode?.k !== 'str') continue;
    const value = call.compile(valueNode, call.context);
    if (value.kind === 'int' && value.constant !== null) {
      result.push({ value: BigInt.asUintN(bits, value.constant), name: nameNode.value });
    } else call.context.notes.add(value.kind === 'unknown' ? value.why : 'a list entry that is not constant');
  }
  return result;
}

function wordBits(call: Call): 32 | 64 {
  return call.name.endsWith('_u64') ? 64 : call.context.longBits;
}

/** kernel/trace/trace_output.c: trace_print_symbols_seq. */
function printSymbolic(call: Call): Compiled {
  const value = argument(call, 0);
  if (value.kind !== 'int') return value;
  const bits = wordBits(call);
  const names = new Map<bigint, string>();
  for (const pair of pairs(call, 1, bits)) if (!names.has(pair.value)) names.set(pair.value, pair.name);
  const run = (get: FieldGetter) => {
    const number = BigInt.asUintN(bits, value.eval(get));
    return names.get(number) ?? `0x${number.toString(16)}`;
  };
  return { kind: 'str', eval: run };
}

/** kernel/trace/trace_output.c: trace_print_flags_seq; 0 gives the name of a `{0, "…"}` entry, else nothing. */
function printFlags(call: Call): Compiled {
  const value = argument(call, 0);
  if (value.kind !== 'int') return value;
  const delimiterNode = call.args[1];
  const delimiter = delimiterNode?.k === 'str' ? delimiterNode.value : '';
  const bits = wordBits(call);
  const flags = pairs(call, 2, bits);
  const seen = new Map<bigint, string>();
  const run = (get: FieldGetter) => {
    const number = BigInt.asUintN(bits, value.eval(get));
    let text = seen.get(number);
    if (text === undefined) {
      text = flagNames(number, flags, delimiter);
      if (seen.size < 4096) seen.set(number, text);
    }
    return text;
  };
  return { kind: 'str', eval: run };
}

function flagNames(value: bigint, flags: readonly Pair[], delimiter: string): string {
  if (value === 0n) return flags.find((flag) => flag.value === 0n)?.name ?? '';
  let left = value;
  const names: string[] = [];
  for (const flag of flags) {
    if (flag.value === 0n || (left & flag.value) !== flag.value) continue;
    names.push(flag.name);
    left &= ~flag.value;
  }
  if (left !== 0n) names.push(`0x${left.toString(16)}`);
  return names.join(delimiter);
}

function printHex(separator: string): (call: Call) => Compiled {
  return (call) => {
    const array = arrayArgument(call);
    const length = argument(call, 1);
    if (array.kind !== 'array') return array;
    if (length.kind !== 'int') return length;
    const run = (get: FieldGetter) => {
      const items = array.eval(get).slice(0, elementCount(length, get));
      return items.map((item) => (item & 0xffn).toString(16).padStart(2, '0')).join(separator);
    };
    return { kind: 'str', eval: run };
  };
}

/** A text trace has the elements that were printed, and not always their number: then all there are. */
function elementCount(length: CompiledInt, get: FieldGetter): number {
  try {
    return Number(length.eval(get));
  } catch (error) {
    if (error instanceof NoNumber) return Infinity;
    throw error;
  }
}

/** The first argument as an array; a text field gives its bytes. */
function arrayArgument(call: Call): Compiled {
  const value = argument(call, 0);
  if (value.kind !== 'str' || value.field === undefined) return value;
  return { kind: 'array', element: { bits: 8, signed: false }, eval: arrayReader(value.field, call.context) };
}

/** kernel/trace/trace_output.c: trace_print_array_seq: `{0x1,0x2}`. */
function printArray(call: Call): Compiled {
  const array = arrayArgument(call);
  const length = argument(call, 1);
  if (array.kind !== 'array') return array;
  if (length.kind !== 'int') return length;
  const bits = array.element.bits;
  const run = (get: FieldGetter) => {
    const items = array.eval(get).slice(0, elementCount(length, get));
    return `{${items.map((item) => `0x${BigInt.asUintN(bits, item).toString(16)}`).join(',')}}`;
  };
  return { kind: 'str', eval: run };
}

function printDynamicArray(call: Call): Compiled {
  const name = dynamicName(call);
  if (name === null) return { kind: 'unknown', why: `${call.name}() of something that is no field` };
  const array = call.compile({ k: 'field', name }, call.context);
  if (array.kind !== 'array') return array;
  const bits = array.element.bits;
  const text = (item: bigint) => `0x${BigInt.asUintN(bits, item).toString(16)}`;
  return { kind: 'str', eval: (get) => `{${array.eval(get).map(text).join(',')}}` };
}

/** A function of one number. */
function ofNumber(
  type: CompiledInt['type'] | null,
  calculate: (value: bigint, longBits: 32 | 64) => bigint,
): (call: Call) => Compiled {
  return (call) => {
    const value = argument(call, 0);
    if (value.kind !== 'int') return value;
    const to = type ?? value.type;
    const { longBits } = call.context;
    return { kind: 'int', type: to, constant: null, eval: (get) => wrap(calculate(value.eval(get), longBits), to) };
  };
}

function swapBytes(bytes: number): (value: bigint) => bigint {
  return (value) => {
    let result = 0n;
    for (let k = 0; k < bytes; k++) result = (result << 8n) | ((value >> BigInt(8 * k)) & 0xffn);
    return result;
  };
}

/** include/linux/string_choices.h and the like: one text for true, one for false. */
function choice(yes: string, no: string): (call: Call) => Compiled {
  return (call) => {
    const value = argument(call, 0);
    if (value.kind !== 'int') return value;
    return { kind: 'str', eval: (get) => (value.eval(get) !== 0n ? yes : no) };
  };
}

/** A function that names the values of an enum, in their order; what is beyond the last has the last one's name. */
function names(...list: readonly string[]): (call: Call) => Compiled {
  return (call) => {
    const value = argument(call, 0);
    if (value.kind !== 'int') return value;
    const last = list.length - 1;
    return { kind: 'str', eval: (get) => list[Math.min(Number(BigInt.asUintN(32, value.eval(get))), last)]! };
  };
}

const MAX_ERRNO = 4095n;
const isError = (value: bigint, bits: 32 | 64) => {
  const negated = -BigInt.asIntN(bits, value);
  return negated > 0n && negated <= MAX_ERRNO ? 1n : 0n;
};
const bswap16 = ofNumber({ bits: 16, signed: false }, swapBytes(2));
const bswap32 = ofNumber(U32, swapBytes(4));
const bswap64 = ofNumber(U64, swapBytes(8));

const FUNCTIONS: Readonly<Record<string, (call: Call) => Compiled>> = {
  __print_symbolic: printSymbolic,
  __print_symbolic_u64: printSymbolic,
  __print_flags: printFlags,
  __print_flags_u64: printFlags,
  __print_hex: printHex(' '),
  __print_hex_str: printHex(''),
  __print_array: printArray,
  __print_dynamic_array: printDynamicArray,
  __get_str: dynamicField,
  __get_rel_str: dynamicField,
  __get_dynamic_array: dynamicField,
  __get_rel_dynamic_array: dynamicField,
  __get_bitmask: dynamicField,
  __get_rel_bitmask: dynamicField,
  __get_cpumask: dynamicField,
  __get_rel_cpumask: dynamicField,
  __get_sockaddr: dynamicField,
  __get_rel_sockaddr: dynamicField,
  __get_dynamic_array_len: dynamicLength,
  __get_rel_dynamic_array_len: dynamicLength,
  __builtin_expect: (call) => argument(call, 0),
  __print_ns_to_secs: ofNumber(U64, (value) => BigInt.asUintN(64, value) / 1_000_000_000n),
  __print_ns_without_secs: ofNumber(U32, (value) => BigInt.asUintN(64, value) % 1_000_000_000n),
  IS_ERR: ofNumber(S32, isError),
  IS_ERR_VALUE: ofNumber(S32, isError),
  PTR_ERR: ofNumber(null, (value) => value),
  MAJOR: ofNumber(U32, (value) => value >> 20n),
  MINOR: ofNumber(U32, (value) => value & 0xfffffn),
  be16_to_cpu: bswap16,
  be32_to_cpu: bswap32,
  be64_to_cpu: bswap64,
  cpu_to_be16: bswap16,
  cpu_to_be32: bswap32,
  cpu_to_be64: bswap64,
  __be16_to_cpu: bswap16,
  __be32_to_cpu: bswap32,
  __be64_to_cpu: bswap64,
  ntohs: bswap16,
  ntohl: bswap32,
  str_on_off: choice('on', 'off'),
  str_yes_no: choice('yes', 'no'),
  str_true_false: choice('true', 'false'),
  str_enabled_disabled: choice('enabled', 'disabled'),
  str_enable_disable: choice('enable', 'disable'),
  str_read_write: choice('read', 'write'),
  str_write_read: choice('write', 'read'),
  str_up_down: choice('up', 'down'),
  str_high_low: choice('high', 'low'),
  // arch/arm64/include/asm/kvm_hypevents.h (v7.3)
  __hyp_enter_exit_reason_str: names(
    'smc',
    'hvc',
    'sys',
    'psci',
    'host_abort',
    'guest_exit',
    'eret_host',
    'eret_guest',
    'unknown',
  ),
};
