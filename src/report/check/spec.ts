/** Reads the spec of `check`: which traces, and what each must show (schema/check.schema.json). */
import { TraceError } from '../../base/errors.js';
import { readExpect, readLatencyLimits, type Expectations } from './spec-expect.js';
import { DEFAULT_TOLERANCE, type CheckSpec, type Tolerance, type TraceSpec } from './spec-types.js';
import { readDuration, readParams, readRules, readShare, type SpecOptions } from './spec-values.js';
import { flagOf, listOf, mapOf, openYaml, scalarOf, textOf, type Node, type Reader } from './yaml.js';

const TOP_KEYS = ['$schema', 'version', 'baseline', 'defaults', 'traces'];
const DEFAULT_KEYS = ['expect', 'latency', 'params', 'rules', 'ignore_rules', 'tolerance', 'optional'];
const TRACE_KEYS = ['path', 'paths', 'name', 'baseline', ...DEFAULT_KEYS];

/** What a trace and the defaults both may say; null = not said. */
interface Part extends Expectations, Pick<TraceSpec, 'latency' | 'params'> {
  readonly optional: boolean | null;
  readonly rules: readonly string[] | null;
  readonly ignoredRules: readonly string[];
  readonly tolerance: Partial<Tolerance>;
}

interface Setting {
  readonly defaults: Part;
  /** Whether the spec names a baseline file. */
  readonly hasBaseline: boolean;
  readonly options: SpecOptions;
}

/** Reads a spec. Throws TraceError('spec') with the place of the first mistake. */
export function parseCheckSpec(path: string, source: string, options: SpecOptions): CheckSpec {
  const reader = openYaml(path, source, options.suggest);
  const top = readTop(reader);
  const version = top.get('version') ?? null;
  if (!version) reader.fail(reader.root, 'the spec has no version', 'add "version: 1"');
  const number = scalarOf(reader, version, 'version');
  if (number !== 1) reader.fail(version, `version ${String(number)} is not known`, 'this gmemtrace reads version 1');
  const file = top.get('baseline') ?? null;
  const baseline = file && textOf(reader, file, 'baseline');
  const defaultNode = top.get('defaults') ?? null;
  const entries = defaultNode ? mapOf(reader, defaultNode, 'defaults', DEFAULT_KEYS) : new Map<string, Node>();
  const setting = { defaults: readPart(reader, entries, options), hasBaseline: baseline !== null, options };
  const list = top.get('traces') ?? null;
  if (!list) reader.fail(reader.root, 'the spec has no traces');
  const traces = listOf(reader, list, 'traces').map((node) => readTrace(reader, node, setting));
  if (traces.length === 0) reader.fail(list, 'traces is an empty list: nothing would be checked');
  return { path, baseline, traces: withOwnNames(traces) };
}

/** Keys that begin with `x-` hold what anchors are put on and mean nothing by themselves. */
function readTop(reader: Reader): ReadonlyMap<string, Node> {
  const all = mapOf(reader, reader.root, 'the spec', null);
  return mapOf(reader, reader.root, 'the spec', [
    ...TOP_KEYS,
    ...[...all.keys()].filter((key) => key.startsWith('x-')),
  ]);
}

/** A name that was there before gets a number. */
function withOwnNames(traces: readonly TraceSpec[]): readonly TraceSpec[] {
  const names = new Map<string, number>();
  return traces.map((trace) => {
    const seen = (names.get(trace.name) ?? 0) + 1;
    names.set(trace.name, seen);
    return seen === 1 ? trace : { ...trace, name: `${trace.name} (${seen})` };
  });
}

function readTrace(reader: Reader, node: Node, { defaults, hasBaseline, options }: Setting): TraceSpec {
  const entries = mapOf(reader, node, 'a trace', TRACE_KEYS);
  const paths = readPaths(reader, node, entries);
  const name = entries.get('name') ?? null;
  const own = readPart(reader, entries, options);
  const baseline = entries.get('baseline') ?? null;
  const compares = baseline ? flagOf(reader, baseline, 'baseline') : hasBaseline;
  if (compares && !hasBaseline) {
    reader.fail(baseline, 'the spec names no baseline file', 'add "baseline: FILE.json" beside "version: 1"');
  }
  const trace: TraceSpec = {
    name: name ? textOf(reader, name, 'name') : paths.join(' + '),
    paths,
    place: reader.placeOf(node),
    optional: own.optional ?? defaults.optional ?? false,
    counts: overlay(defaults.counts, own.counts, (count) => count.name),
    groups: own.groups.length > 0 ? own.groups : defaults.groups,
    findings: own.findings ?? defaults.findings,
    allowed: [...defaults.allowed, ...own.allowed],
    unavailable: own.unavailable ?? defaults.unavailable,
    latency: overlay(defaults.latency, own.latency, (limit) => `${limit.direction}.${limit.figure}`),
    params: new Map([...defaults.params, ...own.params]),
    rules: own.rules ?? defaults.rules ?? [],
    ignoredRules: [...defaults.ignoredRules, ...own.ignoredRules],
    baseline: compares,
    tolerance: { ...DEFAULT_TOLERANCE, ...defaults.tolerance, ...own.tolerance },
  };
  refuseUnjudged(reader, trace);
  return trace;
}

function readPaths(reader: Reader, node: Node, entries: ReadonlyMap<string, Node>): readonly string[] {
  const single = entries.get('path') ?? null;
  const several = entries.get('paths') ?? null;
  if (single && several) reader.fail(several, 'a trace has either path or paths');
  if (single) return [textOf(reader, single, 'path')];
  if (!several) return reader.fail(node, 'a trace has no path');
  const paths = listOf(reader, several, 'paths').map((item) => textOf(reader, item, 'a path'));
  return paths.length > 0 ? paths : reader.fail(several, 'paths is an empty list');
}

/** A finding is expected of a rule that does not judge this trace: it could never be met. */
function refuseUnjudged(reader: Reader, { findings, rules, ignoredRules }: TraceSpec): void {
  const isLeftOut = (rule: string): boolean =>
    (rules.length > 0 && !rules.includes(rule)) || ignoredRules.includes(rule);
  const wrong = findings?.find(({ rule, count }) => isLeftOut(rule) && count.min !== 0);
  if (wrong === undefined) return;
  const hint = rules.length > 0 && !rules.includes(wrong.rule) ? 'add it to "rules"' : 'take it out of "ignore_rules"';
  const message = `a finding of ${wrong.rule} is expected, but the rule does not judge this trace`;
  throw new TraceError('spec', message, { input: reader.path, ...wrong.place, hint });
}

/** The defaults, each replaced by the trace's own of the same name. */
function overlay<T>(defaults: readonly T[], own: readonly T[], keyOf: (item: T) => string): readonly T[] {
  const items = new Map(defaults.map((item) => [keyOf(item), item]));
  for (const item of own) items.set(keyOf(item), item);
  return [...items.values()];
}

function readPart(reader: Reader, entries: ReadonlyMap<string, Node>, options: SpecOptions): Part {
  const node = (key: string): Node => entries.get(key) ?? null;
  const optional = node('optional');
  const rules = node('rules');
  const ignored = node('ignore_rules');
  return {
    ...readExpect(reader, node('expect'), options),
    latency: readLatencyLimits(reader, node('latency')),
    params: readParams(reader, node('params'), options),
    optional: optional && flagOf(reader, optional, 'optional'),
    rules: rules && readRules(reader, rules, 'rules', options),
    ignoredRules: ignored ? readRules(reader, ignored, 'ignore_rules', options) : [],
    tolerance: readTolerance(reader, node('tolerance')),
  };
}

function readTolerance(reader: Reader, node: Node): Partial<Tolerance> {
  if (!node) return {};
  const entries = mapOf(reader, node, 'tolerance', ['counts', 'latency', 'latency_floor']);
  const counts = entries.get('counts') ?? null;
  const latency = entries.get('latency') ?? null;
  const floor = entries.get('latency_floor') ?? null;
  return {
    ...(counts && { counts: readShare(reader, counts, 'counts') }),
    ...(latency && { latency: readShare(reader, latency, 'latency') }),
    ...(floor && { latencyFloorNs: readDuration(reader, floor, 'latency_floor') }),
  };
}
