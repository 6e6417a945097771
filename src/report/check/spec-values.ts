/** Values of a spec: ranges, durations, shares, VMs, names of rules. */
import type { Range } from './spec-types.js';
import {
  countOf,
  isMapping,
  kindOf,
  listOf,
  mapOf,
  scalarOf,
  textOf,
  type Node,
  type Reader,
  type Suggest,
} from './yaml.js';

/** What a spec may name. */
export interface SpecOptions {
  /** Rules that there are, with the names of their parameters. */
  readonly rules: ReadonlyMap<string, readonly string[]>;
  readonly suggest: Suggest;
}

/** A count, or `{ min, max }` with at least one of them. */
export function readRange(reader: Reader, node: Node, what: string): Range {
  return readEnds(reader, node, what, countOf, (exact) => ({ min: exact, max: exact }));
}

/** A duration, which is an upper limit, or `{ min, max }`. ns. */
export function readLimit(reader: Reader, node: Node, what: string): Range {
  return readEnds(reader, node, what, readDuration, (limit) => ({ min: null, max: limit }));
}

type ReadValue = (reader: Reader, node: Node, what: string) => number;

function readEnds(reader: Reader, node: Node, what: string, read: ReadValue, single: (value: number) => Range): Range {
  if (!isMapping(node)) return single(read(reader, node, what));
  const entries = mapOf(reader, node, what, ['min', 'max']);
  const low = entries.get('min') ?? null;
  const high = entries.get('max') ?? null;
  if (!low && !high) reader.fail(node, `${what} has neither min nor max`);
  const min = low && read(reader, low, `${what}.min`);
  const max = high && read(reader, high, `${what}.max`);
  if (min !== null && max !== null && min > max) reader.fail(node, `${what}: min ${min} is above max ${max}`);
  return { min, max };
}

const UNITS: Readonly<Record<string, number>> = { ns: 1, us: 1e3, µs: 1e3, μs: 1e3, ms: 1e6, s: 1e9, min: 60e9 };

/** A duration with its unit, in ns: `10ms`, `1.5 s`, `300us`. */
export function readDuration(reader: Reader, node: Node, what: string): number {
  const value = scalarOf(reader, node, what);
  const parts = /^(\d+(?:\.\d+)?)\s*(\S+)$/.exec(String(value));
  const unit = parts && UNITS[parts[2]!];
  if (!parts || unit === undefined || unit === null) {
    const message = `${what} is ${kindOf(node)}, expected a duration with its unit`;
    return reader.fail(node, message, 'for example 10ms, 1.5s, 300us');
  }
  return Math.round(Number(parts[1]) * unit);
}

/** A share in per cent, `25%` or `2.5 %`, as 0.25 or 0.025. */
export function readShare(reader: Reader, node: Node, what: string): number {
  const parts = /^(\d+(?:\.\d+)?)\s*%$/.exec(String(scalarOf(reader, node, what)));
  if (!parts) return reader.fail(node, `${what} is ${kindOf(node)}, expected a share in per cent`, 'for example 25%');
  return Number(parts[1]) / 100;
}

/** `1` or `vm1`; null where it is not given. */
export function readVm(reader: Reader, node: Node): number | null {
  if (!node) return null;
  const value = scalarOf(reader, node, 'vm');
  const id = typeof value === 'number' ? value : Number(/^vm#?(\d+)$/.exec(String(value))?.[1]);
  return Number.isSafeInteger(id) && id > 0
    ? id
    : reader.fail(node, `vm is ${kindOf(node)}, expected a number from 1 or vm1`);
}

/** The name of a rule that there is. */
export function readRule(reader: Reader, node: Node, options: SpecOptions): string {
  const rule = textOf(reader, node, 'rule');
  if (!options.rules.has(rule)) {
    reader.fail(node, `there is no rule "${rule}"`, options.suggest(rule, [...options.rules.keys()]));
  }
  return rule;
}

/** A list of names of rules. */
export function readRules(reader: Reader, node: Node, what: string, options: SpecOptions): readonly string[] {
  return listOf(reader, node, what).map((item) => readRule(reader, item, options));
}

/** `rule.parameter` → value as text. */
export function readParams(reader: Reader, node: Node, options: SpecOptions): ReadonlyMap<string, string> {
  const params = new Map<string, string>();
  if (!node) return params;
  for (const [name, value] of mapOf(reader, node, 'params', null)) {
    const [rule = '', ...rest] = name.split('.');
    if (!options.rules.get(rule)?.includes(rest.join('.'))) {
      const all = [...options.rules].flatMap(([key, names]) => names.map((param) => `${key}.${param}`));
      reader.fail(value, `there is no rule parameter "${name}"`, options.suggest(name, all));
    }
    const number = scalarOf(reader, value, name);
    if (typeof number !== 'number') reader.fail(value, `${name} is ${kindOf(value)}, expected a number`);
    params.set(name, String(number));
  }
  return params;
}
