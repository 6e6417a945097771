/** The part `expect` of a spec, and its latency limits. */
import { SEVERITIES } from '../model-findings.js';
import {
  DIRECTIONS,
  GROUP_KEYS,
  LATENCY_FIGURES,
  ORIGINS,
  OUTCOMES,
  PLAIN_COUNTS,
  type AllowedFinding,
  type CountExpectation,
  type FindingExpectation,
  type GroupExpectation,
  type LatencyExpectation,
  type TraceSpec,
} from './spec-types.js';
import { readLimit, readRange, readRule, readVm, type SpecOptions } from './spec-values.js';
import { isMapping, listOf, mapOf, textOf, wordOf, type Node, type Reader } from './yaml.js';

export type Expectations = Pick<TraceSpec, 'counts' | 'groups' | 'findings' | 'allowed' | 'unavailable'>;

const NOTHING: Expectations = { counts: [], groups: [], findings: null, allowed: [], unavailable: null };

const EXPECT_KEYS = ['conversions', ...PLAIN_COUNTS, 'findings', 'allow_findings', 'unavailable'];
const CONVERSION_KEYS = ['total', 'direction', 'origin', 'outcome', 'attempts', 'failed_attempts', 'groups'];
const WORDS: Readonly<Record<'direction' | 'origin' | 'outcome', readonly string[]>> = {
  direction: DIRECTIONS,
  origin: ORIGINS,
  outcome: OUTCOMES,
};

/** Reads `expect`; where it is not given, nothing is expected. Throws TraceError('spec'). */
export function readExpect(reader: Reader, node: Node, options: SpecOptions): Expectations {
  if (!node) return NOTHING;
  const entries = mapOf(reader, node, 'expect', EXPECT_KEYS);
  const conversions = entries.get('conversions') ?? null;
  const { counts, groups } = conversions ? readConversions(reader, conversions) : { counts: [], groups: [] };
  const plain = PLAIN_COUNTS.flatMap((name) => {
    const value = entries.get(name) ?? null;
    return value ? [countAt(reader, value, name, name)] : [];
  });
  const findings = entries.get('findings') ?? null;
  const allowed = entries.get('allow_findings') ?? null;
  const unavailable = entries.get('unavailable') ?? null;
  return {
    counts: [...counts, ...plain],
    groups,
    findings: findings && listOf(reader, findings, 'findings').map((item) => readFinding(reader, item, options)),
    allowed: allowed ? listOf(reader, allowed, 'allow_findings').map((item) => readAllowed(reader, item, options)) : [],
    unavailable: unavailable && {
      names: listOf(reader, unavailable, 'unavailable').map((item) => textOf(reader, item, 'what is unavailable')),
      place: reader.placeOf(unavailable),
    },
  };
}

function countAt(reader: Reader, node: Node, name: string, what: string): CountExpectation {
  return { name, range: readRange(reader, node, what), place: reader.placeOf(node) };
}

function readConversions(reader: Reader, node: Node): Pick<Expectations, 'counts' | 'groups'> {
  const keys = isMapping(node) ? mapOf(reader, node, 'conversions', null) : null;
  if (keys === null || keys.has('min') || keys.has('max')) {
    return { counts: [countAt(reader, node, 'conversions.total', 'conversions')], groups: [] };
  }
  const counts: CountExpectation[] = [];
  const groups: GroupExpectation[] = [];
  for (const [key, value] of mapOf(reader, node, 'conversions', CONVERSION_KEYS)) {
    if (key === 'groups') {
      for (const item of listOf(reader, value, 'groups')) groups.push(readGroup(reader, item));
    } else if (key === 'direction' || key === 'origin' || key === 'outcome') {
      for (const [word, range] of mapOf(reader, value, key, WORDS[key])) {
        counts.push(countAt(reader, range, `conversions.${key}.${word}`, word));
      }
    } else counts.push(countAt(reader, value, `conversions.${key}`, key));
  }
  return { counts, groups };
}

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
  return {
    match,
    vm: readVm(reader, entries.get('vm') ?? null),
    count: readRange(reader, count, 'count'),
    place: reader.placeOf(node),
  };
}

function readFinding(reader: Reader, node: Node, options: SpecOptions): FindingExpectation {
  const once = { min: 1, max: 1 };
  const place = reader.placeOf(node);
  if (!isMapping(node)) return { rule: readRule(reader, node, options), vm: null, severity: null, count: once, place };
  const entries = mapOf(reader, node, 'a finding', ['rule', 'vm', 'count', 'severity']);
  const severity = entries.get('severity') ?? null;
  const count = entries.get('count') ?? null;
  return {
    rule: readRuleOf(reader, node, entries, options),
    vm: readVm(reader, entries.get('vm') ?? null),
    severity: severity && wordOf(reader, severity, 'severity', SEVERITIES),
    count: count ? readRange(reader, count, 'count') : once,
    place,
  };
}

function readAllowed(reader: Reader, node: Node, options: SpecOptions): AllowedFinding {
  if (!isMapping(node)) return { rule: readRule(reader, node, options), vm: null };
  const entries = mapOf(reader, node, 'an allowed finding', ['rule', 'vm']);
  return { rule: readRuleOf(reader, node, entries, options), vm: readVm(reader, entries.get('vm') ?? null) };
}

function readRuleOf(reader: Reader, node: Node, entries: ReadonlyMap<string, Node>, options: SpecOptions): string {
  return readRule(reader, entries.get('rule') ?? reader.fail(node, 'a finding has no rule'), options);
}

/** Reads `latency`: direction → figure → limit. Throws TraceError('spec'). */
export function readLatencyLimits(reader: Reader, node: Node): readonly LatencyExpectation[] {
  if (!node) return [];
  const limits: LatencyExpectation[] = [];
  for (const [direction, figures] of mapOf(reader, node, 'latency', DIRECTIONS)) {
    for (const [figure, value] of mapOf(reader, figures, direction, LATENCY_FIGURES)) {
      limits.push({
        direction,
        figure: figure as LatencyExpectation['figure'],
        range: readLimit(reader, value, figure),
        place: reader.placeOf(value),
      });
    }
  }
  return limits;
}
