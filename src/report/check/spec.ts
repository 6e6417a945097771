/** The spec of `check`: which traces, and what each must show (schema/check.schema.json). */
import { SEVERITIES, type Severity } from '../model-findings.js';
import {
  countOf,
  flagOf,
  isMapping,
  kindOf,
  listOf,
  mapOf,
  openYaml,
  scalarOf,
  textOf,
  wordOf,
  type Node,
  type Reader,
  type Suggest,
} from './yaml.js';

/** A number that is expected: exact where both ends are equal; null = open. */
export interface Range {
  readonly min: number | null;
  readonly max: number | null;
}

/** A count by its name in the spec: `conversions.total`, `conversions.direction.to_private`, `memory_faults`. */
export interface CountExpectation {
  readonly name: string;
  readonly range: Range;
}

export const GROUP_KEYS = ['direction', 'origin', 'request', 'mechanism', 'outcome'] as const;

/** Conversions that agree in all the given properties. */
export interface GroupExpectation {
  readonly match: Readonly<Partial<Record<(typeof GROUP_KEYS)[number], string>>>;
  readonly vm: number | null;
  readonly count: Range;
}

export interface FindingExpectation {
  readonly rule: string;
  readonly vm: number | null;
  readonly severity: Severity | null;
  readonly count: Range;
}

export interface AllowedFinding {
  readonly rule: string;
  readonly vm: number | null;
}

export const LATENCY_FIGURES = ['min', 'p50', 'p90', 'p99', 'p999', 'max', 'mean'] as const;

/** A limit of one figure of one direction's latency, ns. A plain duration in the spec is an upper limit. */
export interface LatencyExpectation {
  readonly direction: string;
  readonly figure: (typeof LATENCY_FIGURES)[number];
  readonly range: Range;
}

export interface TraceSpec {
  readonly name: string;
  /** As in the spec: relative to its folder. */
  readonly paths: readonly string[];
  readonly optional: boolean;
  readonly counts: readonly CountExpectation[];
  readonly groups: readonly GroupExpectation[];
  readonly findings: readonly FindingExpectation[];
  readonly allowed: readonly AllowedFinding[];
  /** What must be not available, and nothing else; null = not asked. */
  readonly unavailable: readonly string[] | null;
  readonly latency: readonly LatencyExpectation[];
  /** `rule.param` → value as text. */
  readonly params: ReadonlyMap<string, string>;
}

export interface CheckSpec {
  readonly path: string;
  readonly traces: readonly TraceSpec[];
}

/** What a spec may name. */
export interface SpecOptions {
  /** Rules that there are, with the names of their parameters. */
  readonly rules: ReadonlyMap<string, readonly string[]>;
  readonly suggest: Suggest;
}

export const DIRECTIONS = ['to_private', 'to_shared'] as const;
export const ORIGINS = ['explicit', 'implicit', 'vmm'] as const;
export const OUTCOMES = ['done', 'refused', 'failed', 'noop', 'pending', 'unknown'] as const;

/** Counts of `expect` that are one number. */
export const PLAIN_COUNTS = [
  'memory_faults',
  'punches',
  'reboots',
  'references',
  'vms',
  'gmems',
  'events',
  'lost',
  'skipped',
] as const;

const CONVERSION_KEYS = ['total', 'direction', 'origin', 'outcome', 'attempts', 'failed_attempts', 'groups'];
const EXPECT_KEYS = ['conversions', ...PLAIN_COUNTS, 'findings', 'allow_findings', 'unavailable'];
const DEFAULT_KEYS = ['expect', 'latency', 'params', 'optional'];
const TRACE_KEYS = ['path', 'paths', 'name', ...DEFAULT_KEYS];

type Part = Pick<TraceSpec, 'counts' | 'groups' | 'allowed' | 'unavailable' | 'latency' | 'params'> & {
  readonly findings: readonly FindingExpectation[] | null;
  readonly optional: boolean | null;
};

const NOTHING: Part = {
  counts: [],
  groups: [],
  findings: null,
  allowed: [],
  unavailable: null,
  latency: [],
  params: new Map(),
  optional: null,
};

/** Reads a spec. Throws TraceError('spec') with the line of the first mistake. */
export function parseCheckSpec(path: string, source: string, options: SpecOptions): CheckSpec {
  const reader = openYaml(path, source, options.suggest);
  const top = mapOf(reader, reader.root, 'the spec', ['$schema', 'version', 'defaults', 'traces']);
  const version = top.get('version') ?? null;
  if (!version) reader.fail(reader.root, 'the spec has no version', 'add "version: 1"');
  const number = scalarOf(reader, version, 'version');
  if (number !== 1) reader.fail(version, `version ${String(number)} is not known`, 'this gmemtrace reads version 1');
  const defaults = readPart(reader, top.get('defaults') ?? null, 'defaults', DEFAULT_KEYS, options);
  const list = top.get('traces') ?? null;
  if (!list) reader.fail(reader.root, 'the spec has no traces');
  const traces = listOf(reader, list, 'traces').map((node) => readTrace(reader, node, defaults, options));
  if (traces.length === 0) reader.fail(list, 'traces is an empty list: nothing would be checked');
  const names = new Map<string, number>();
  const unique = traces.map((trace) => {
    const seen = (names.get(trace.name) ?? 0) + 1;
    names.set(trace.name, seen);
    return seen === 1 ? trace : { ...trace, name: `${trace.name} (${seen})` };
  });
  return { path, traces: unique };
}

function readTrace(reader: Reader, node: Node, defaults: Part, options: SpecOptions): TraceSpec {
  const entries = mapOf(reader, node, 'a trace', TRACE_KEYS);
  const single = entries.get('path') ?? null;
  const several = entries.get('paths') ?? null;
  if (single && several) reader.fail(several, 'a trace has either path or paths');
  if (!single && !several) reader.fail(node, 'a trace has no path');
  const paths = single
    ? [textOf(reader, single, 'path')]
    : listOf(reader, several, 'paths').map((item) => textOf(reader, item, 'a path'));
  if (paths.length === 0) reader.fail(several, 'paths is an empty list');
  const own = readPart(reader, node, 'a trace', TRACE_KEYS, options);
  const name = entries.get('name') ?? null;
  return {
    name: name ? textOf(reader, name, 'name') : paths.join(' + '),
    paths,
    optional: own.optional ?? defaults.optional ?? false,
    counts: overlay(defaults.counts, own.counts, (count) => count.name),
    groups: own.groups.length > 0 ? own.groups : defaults.groups,
    findings: own.findings ?? defaults.findings ?? [],
    allowed: [...defaults.allowed, ...own.allowed],
    unavailable: own.unavailable ?? defaults.unavailable,
    latency: overlay(defaults.latency, own.latency, (limit) => `${limit.direction}.${limit.figure}`),
    params: new Map([...defaults.params, ...own.params]),
  };
}

/** The defaults, each replaced by the trace's own of the same name. */
function overlay<T>(defaults: readonly T[], own: readonly T[], keyOf: (item: T) => string): readonly T[] {
  const items = new Map(defaults.map((item) => [keyOf(item), item]));
  for (const item of own) items.set(keyOf(item), item);
  return [...items.values()];
}

function readPart(reader: Reader, node: Node, what: string, keys: readonly string[], options: SpecOptions): Part {
  if (!node) return NOTHING;
  const entries = mapOf(reader, node, what, keys);
  const optional = entries.get('optional') ?? null;
  return {
    ...readExpect(reader, entries.get('expect') ?? null, options),
    latency: readLatency(reader, entries.get('latency') ?? null),
    params: readParams(reader, entries.get('params') ?? null, options),
    optional: optional ? flagOf(reader, optional, 'optional') : null,
  };
}

function readExpect(reader: Reader, node: Node, options: SpecOptions): Omit<Part, 'latency' | 'params' | 'optional'> {
  if (!node) return NOTHING;
  const entries = mapOf(reader, node, 'expect', EXPECT_KEYS);
  const counts: CountExpectation[] = [];
  const groups: GroupExpectation[] = [];
  const conversions = entries.get('conversions') ?? null;
  if (conversions) readConversions(reader, conversions, counts, groups);
  for (const name of PLAIN_COUNTS) {
    const value = entries.get(name) ?? null;
    if (value) counts.push({ name, range: readRange(reader, value, name) });
  }
  const findings = entries.get('findings') ?? null;
  const allowed = entries.get('allow_findings') ?? null;
  const unavailable = entries.get('unavailable') ?? null;
  return {
    counts,
    groups,
    findings: findings && listOf(reader, findings, 'findings').map((item) => readFinding(reader, item, options)),
    allowed: allowed ? listOf(reader, allowed, 'allow_findings').map((item) => readAllowed(reader, item, options)) : [],
    unavailable:
      unavailable &&
      listOf(reader, unavailable, 'unavailable').map((item) => textOf(reader, item, 'what is unavailable')),
  };
}

function readConversions(reader: Reader, node: Node, counts: CountExpectation[], groups: GroupExpectation[]): void {
  if (
    !isMapping(node) ||
    mapOf(reader, node, 'conversions', null).has('min') ||
    mapOf(reader, node, 'conversions', null).has('max')
  ) {
    counts.push({ name: 'conversions.total', range: readRange(reader, node, 'conversions') });
    return;
  }
  for (const [key, value] of mapOf(reader, node, 'conversions', CONVERSION_KEYS)) {
    if (key === 'groups') {
      for (const item of listOf(reader, value, 'groups')) groups.push(readGroup(reader, item));
    } else if (key === 'direction' || key === 'origin' || key === 'outcome') {
      for (const [word, range] of mapOf(reader, value, key, WORDS[key])) {
        counts.push({ name: `conversions.${key}.${word}`, range: readRange(reader, range, word) });
      }
    } else counts.push({ name: `conversions.${key}`, range: readRange(reader, value, key) });
  }
}

const WORDS: Readonly<Record<'direction' | 'origin' | 'outcome', readonly string[]>> = {
  direction: DIRECTIONS,
  origin: ORIGINS,
  outcome: OUTCOMES,
};

function readGroup(reader: Reader, node: Node): GroupExpectation {
  const entries = mapOf(reader, node, 'a group', [...GROUP_KEYS, 'vm', 'count']);
  const match: Partial<Record<(typeof GROUP_KEYS)[number], string>> = {};
  for (const key of GROUP_KEYS) {
    const value = entries.get(key) ?? null;
    if (!value) continue;
    const words = key === 'request' || key === 'mechanism' ? null : WORDS[key];
    match[key] = words ? wordOf(reader, value, key, words) : textOf(reader, value, key);
  }
  const count = entries.get('count') ?? null;
  if (!count) reader.fail(node, 'a group has no count');
  return { match, vm: readVm(reader, entries.get('vm') ?? null), count: readRange(reader, count, 'count') };
}

function readFinding(reader: Reader, node: Node, options: SpecOptions): FindingExpectation {
  const once = { min: 1, max: 1 };
  if (!isMapping(node)) return { rule: readRule(reader, node, options), vm: null, severity: null, count: once };
  const entries = mapOf(reader, node, 'a finding', ['rule', 'vm', 'count', 'severity']);
  const severity = entries.get('severity') ?? null;
  const count = entries.get('count') ?? null;
  return {
    rule: readRule(reader, entries.get('rule') ?? node, options),
    vm: readVm(reader, entries.get('vm') ?? null),
    severity: severity && wordOf(reader, severity, 'severity', SEVERITIES),
    count: count ? readRange(reader, count, 'count') : once,
  };
}

function readAllowed(reader: Reader, node: Node, options: SpecOptions): AllowedFinding {
  if (!isMapping(node)) return { rule: readRule(reader, node, options), vm: null };
  const entries = mapOf(reader, node, 'an allowed finding', ['rule', 'vm']);
  return {
    rule: readRule(reader, entries.get('rule') ?? node, options),
    vm: readVm(reader, entries.get('vm') ?? null),
  };
}

function readRule(reader: Reader, node: Node, options: SpecOptions): string {
  if (isMapping(node)) return reader.fail(node, 'a finding has no rule');
  const rule = textOf(reader, node, 'rule');
  if (!options.rules.has(rule))
    reader.fail(node, `there is no rule "${rule}"`, options.suggest(rule, [...options.rules.keys()]));
  return rule;
}

/** `1` or `vm1`. */
function readVm(reader: Reader, node: Node): number | null {
  if (!node) return null;
  const value = scalarOf(reader, node, 'vm');
  const id = typeof value === 'number' ? value : Number(/^vm#?(\d+)$/.exec(String(value))?.[1]);
  return Number.isSafeInteger(id) && id > 0
    ? id
    : reader.fail(node, `vm is ${kindOf(node)}, expected a number from 1 or vm1`);
}

function readRange(reader: Reader, node: Node, what: string): Range {
  return readEnds(reader, node, what, countOf, (exact) => ({ min: exact, max: exact }));
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

function readLatency(reader: Reader, node: Node): LatencyExpectation[] {
  if (!node) return [];
  const limits: LatencyExpectation[] = [];
  for (const [direction, figures] of mapOf(reader, node, 'latency', DIRECTIONS)) {
    for (const [figure, value] of mapOf(reader, figures, direction, LATENCY_FIGURES)) {
      const range = readEnds(reader, value, figure, readDuration, (limit) => ({ min: null, max: limit }));
      limits.push({ direction, figure: figure as LatencyExpectation['figure'], range });
    }
  }
  return limits;
}

const UNITS: Readonly<Record<string, number>> = { ns: 1, us: 1e3, µs: 1e3, μs: 1e3, ms: 1e6, s: 1e9, min: 60e9 };

/** A duration with its unit, in ns: `10ms`, `1.5 s`, `300us`. */
function readDuration(reader: Reader, node: Node, what: string): number {
  const value = scalarOf(reader, node, what);
  const parts = /^(\d+(?:\.\d+)?)\s*(\S+)$/.exec(String(value));
  const unit = parts && UNITS[parts[2]!];
  if (!parts || unit === undefined || unit === null) {
    return reader.fail(
      node,
      `${what} is ${kindOf(node)}, expected a duration with its unit`,
      'for example 10ms, 1.5s, 300us',
    );
  }
  return Math.round(Number(parts[1]) * unit);
}

function readParams(reader: Reader, node: Node, options: SpecOptions): Map<string, string> {
  const params = new Map<string, string>();
  if (!node) return params;
  for (const [name, value] of mapOf(reader, node, 'params', null)) {
    const dot = name.indexOf('.');
    const rule = name.slice(0, Math.max(dot, 0));
    const known = options.rules.get(rule);
    const all = [...options.rules].flatMap(([key, names]) => names.map((param) => `${key}.${param}`));
    if (!known?.includes(name.slice(dot + 1))) {
      reader.fail(value, `there is no rule parameter "${name}"`, options.suggest(name, all));
    }
    params.set(name, String(scalarOf(reader, value, name)));
  }
  return params;
}
