/** Texts of events that no catalogue knows (probes, other tracepoints, system calls): `key=value` pairs and what is left. Cold code. */
import type { ColumnType, FieldSpec } from '../model.js';

/** Where a probe says it was hit: `(func+0x4/0x70)`, `(caller+0x168/0x47a <- func)`, `(ffffffff8106a810)`, `(a <- b)`. */
export interface ProbeHead {
  readonly isReturn: boolean;
  /** Function name without offset and suffix; null where only addresses are told. */
  readonly fn: string | null;
  /** Address columns: `__probe_ip`, or `__probe_func` and `__probe_ret_ip`. */
  readonly addresses: ReadonlyMap<string, bigint>;
}

export interface LooseText {
  readonly head: ProbeHead | null;
  readonly pairs: ReadonlyMap<string, string>;
  /** What is no pair; '' where all is. */
  readonly rest: string;
}

/** How pairs are written: `a=1 b=2`, or `a: 1, b: 2` (system calls). */
export type PairStyle = 'equals' | 'syscall';

const PROBE_HEAD = /^\(((?:[\w.$@]+(?:\+0x[0-9a-f]+\/0x[0-9a-f]+)?(?: \[[\w-]+\])?(?: <- )?){1,2})\) ?/;
const KEY = /(?:^|[\s,{(])([A-Za-z_][\w.-]*)=/g;
const SYSCALL_KEY = /(?:^|, )(?:[\w ]*[ *])?(\w+): /g;
const NUMBER = /^(-?\d+|0x[0-9a-fA-F]+)(?: \(-?(?:\d+|0x[0-9a-fA-F]+)\))?(?=[\s,]|$)/;

/** @param kernelText return probes name `caller <- function` in the kernel's text, but addresses of report and script are `function <- caller` */
export function parseProbeHead(text: string, kernelText: boolean): (ProbeHead & { readonly length: number }) | null {
  const match = PROBE_HEAD.exec(text);
  if (!match) return null;
  const places = match[1]!.split(' <- ');
  const isReturn = places.length === 2;
  const address = (place: string): bigint | null =>
    /^(?:0x)?[0-9a-f]{5,16}$/.test(place) ? BigInt(place.startsWith('0x') ? place : `0x${place}`) : null;
  const symbol = (place: string): string | null => (address(place) === null ? functionName(place) : null);
  const addresses = new Map<string, bigint>();
  const put = (name: string, place: string): void => {
    const value = address(place);
    if (value !== null) addresses.set(name, value);
  };
  const fn = symbol(isReturn ? places[1]! : places[0]!);
  if (!isReturn) put('__probe_ip', places[0]!);
  else {
    const callerFirst = kernelText || fn !== null;
    put('__probe_func', places[callerFirst ? 1 : 0]!);
    put('__probe_ret_ip', places[callerFirst ? 0 : 1]!);
  }
  return { isReturn, fn, addresses, length: match[0].length };
}

/** `kvm_set_memory_region.part.0+0x4/0x70 [kvm]` → `kvm_set_memory_region`. */
export function functionName(symbol: string): string {
  return symbol.replace(/[+ ].*$/, '').replace(/\.(?:isra|constprop|part|cold|llvm)\b.*$/, '');
}

export function parseLooseText(text: string, style: PairStyle, kernelText: boolean): LooseText {
  const head = style === 'equals' ? parseProbeHead(text, kernelText) : null;
  const body = head ? text.slice(head.length) : text;
  const matches = [...body.matchAll(style === 'equals' ? KEY : SYSCALL_KEY)];
  const pairs = new Map<string, string>();
  let rest = matches.length > 0 ? body.slice(0, matches[0]!.index).trim() : body.trim();
  matches.forEach((match, k) => {
    const from = match.index + match[0].length;
    const raw = body.slice(from, matches[k + 1]?.index ?? body.length).replace(/[\s,{(]+$/, '');
    const number = NUMBER.exec(raw);
    const value = number ? number[0] : raw;
    if (pairs.has(match[1]!)) rest = `${rest} ${match[1]!}=${raw}`.trim();
    else pairs.set(match[1]!, value);
    // an address is told with a text behind it by newer system call events, which is not a field
    if (style === 'equals') rest = `${rest} ${raw.slice(value.length).trim()}`.trim();
  });
  return { head, pairs, rest };
}

/** A value as a number; undefined where it is none, null for a probe's `(fault)`. */
export function looseNumber(key: string, value: string): bigint | null | undefined {
  if (value === '(fault)') return null;
  if (value === '(null)' || value === '(nil)') return 0n;
  const first = value.replace(/ \(.*\)$/, '');
  if (/^-?\d{1,20}$/.test(first) && !/^\d{16}$/.test(first))
    return key.startsWith('__probe_') ? BigInt(`0x${first}`) : BigInt(first);
  if (/^0x[0-9a-fA-F]{1,16}$/.test(first)) return BigInt(first);
  // pointers have 16 digits and no 0x
  if (/^[0-9a-f]{16}$/.test(first)) return BigInt(`0x${first}`);
  return key.startsWith('__probe_') && /^[0-9a-f]{1,16}$/.test(first) ? BigInt(`0x${first}`) : undefined;
}

function isHex(value: string): boolean {
  return value.startsWith('0x') || /^[0-9a-f]{16}$/.test(value);
}

/** Column of a key from all the values seen: hexadecimal → u64, decimal → i64 (u64 where one is too large), else text. */
function columnOf(key: string, values: readonly string[]): FieldSpec {
  const numbers = values.map((value) => looseNumber(key, value));
  const spec = (type: ColumnType, radix: 10 | 16): FieldSpec => ({ name: key, type, cType: '', radix });
  if (numbers.includes(undefined)) return spec('string', 10);
  const known = numbers.filter((number): number is bigint => typeof number === 'bigint');
  const radix = key.startsWith('__probe_') || values.some(isHex) ? 16 : 10;
  const isNegative = known.some((number) => number < 0n);
  const isLarge = known.some((number) => number >= 1n << 63n);
  return spec(isLarge || (radix === 16 && !isNegative) ? 'u64' : 'i64', radix);
}

/** Columns for a set of texts: keys in the order of their first coming, then `text` where something is left over. */
export function looseFields(texts: readonly LooseText[]): FieldSpec[] {
  const values = new Map<string, string[]>();
  const address: FieldSpec = { name: '', type: 'u64', cType: 'unsigned long', radix: 16 };
  const fields: FieldSpec[] = [];
  const head = texts.find((text) => text.head)?.head;
  if (head) {
    const names = head.isReturn ? ['__probe_func', '__probe_ret_ip'] : ['__probe_ip'];
    fields.push(...names.map((name) => ({ ...address, name })));
  }
  for (const { pairs } of texts) {
    for (const [key, value] of pairs) {
      const known = values.get(key);
      if (known) known.push(value);
      else values.set(key, [value]);
    }
  }
  for (const [key, all] of values) {
    if (key.startsWith('__probe_') && head) continue;
    fields.push(columnOf(key, all));
  }
  if (texts.some((text) => text.rest !== '')) fields.push({ name: 'text', type: 'string', cType: '', radix: 10 });
  return fields;
}
