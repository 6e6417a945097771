/** Holds an analysis against what a spec expects of it. Pure: it sees only the models. */
import { formatCount, formatDuration } from '../../base/units.js';
import type { LatencyReport } from '../latency.js';
import type { Analysis } from '../model.js';
import type { Finding } from '../model-findings.js';
import { rangeText } from './range.js';
import type { FindingExpectation, GroupExpectation, LatencyExpectation, Range, TraceSpec } from './spec.js';

/** `skip` = could not be judged, with the reason in `message`. */
export type CaseStatus = 'ok' | 'fail' | 'skip';

/** One expectation, or one rule, and how it came out. */
export interface CheckCase {
  /** `conversions.total`, `latency.to_private.p99`, `rule conversion-stall`. */
  readonly name: string;
  readonly status: CaseStatus;
  /** What is expected and what was found, in one line; empty where all is as expected. */
  readonly message: string;
  /** Evidence, a line each. */
  readonly details: readonly string[];
}

export interface TraceResult {
  readonly name: string;
  readonly paths: readonly string[];
  /** `unreadable`: the input could not be read at all. */
  readonly status: 'ok' | 'fail' | 'skip' | 'unreadable';
  /** Why it was skipped or could not be read. */
  readonly reason: string;
  readonly cases: readonly CheckCase[];
}

export interface CheckReport {
  readonly spec: string;
  readonly traces: readonly TraceResult[];
}

/** Judges one trace of a spec. `rules` are the names of all rules that were run. */
export function judgeTrace(
  spec: TraceSpec,
  analysis: Analysis,
  latency: LatencyReport | null,
  rules: readonly string[],
): TraceResult {
  const cases = [
    ...spec.counts.map((count) => judgeCount(count.name, count.range, countOf(analysis, count.name), analysis)),
    ...spec.groups.map((group) => judgeGroup(group, analysis)),
    ...spec.latency.map((limit) => judgeLatency(limit, latency)),
    ...judgeUnavailable(spec, analysis),
    ...judgeFindings(spec, analysis, rules),
  ];
  const status = cases.some((one) => one.status === 'fail') ? 'fail' : 'ok';
  return { name: spec.name, paths: spec.paths, status, reason: '', cases };
}

const ok = (name: string): CheckCase => ({ name, status: 'ok', message: '', details: [] });

function isInside(value: number, range: Range): boolean {
  return (range.min === null || value >= range.min) && (range.max === null || value <= range.max);
}

function judgeCount(name: string, range: Range, value: number | null, analysis: Analysis): CheckCase {
  if (value === null) {
    const details = reasons(analysis, name);
    return { name, status: 'fail', message: `${name}: not known, expected ${rangeText(range, formatCount)}`, details };
  }
  if (isInside(value, range)) return ok(name);
  return {
    name,
    status: 'fail',
    message: `${name}: ${formatCount(value)}, expected ${rangeText(range, formatCount)}`,
    details: [],
  };
}

/** Why a figure is not known. */
function reasons(analysis: Analysis, name: string): string[] {
  const what = name.split('.')[0]!;
  return analysis.unavailable
    .filter((missing) => missing.what === what || missing.what === name)
    .map((missing) => `${missing.missing}; record ${missing.record}`);
}

/** A count by its name in the spec; null = the trace does not tell. */
function countOf(analysis: Analysis, name: string): number | null {
  const { conversions } = analysis;
  switch (name) {
    case 'conversions.total':
      return conversions.total;
    case 'conversions.attempts':
      return conversions.attempts.total;
    case 'conversions.failed_attempts':
      return conversions.attempts.failed;
    case 'memory_faults':
      return analysis.memoryFaults.total;
    case 'punches':
      return analysis.punches.total;
    case 'reboots':
      return analysis.reboots?.length ?? null;
    case 'references':
      return analysis.references.outstanding?.length ?? null;
    case 'vms':
      return analysis.vms.length;
    case 'gmems':
      return analysis.gmems.length;
    case 'events':
      return analysis.traces.reduce((sum, trace) => sum + trace.events, 0);
    case 'lost':
      return sumOrNull(analysis.traces.map((trace) => trace.lost));
    case 'skipped':
      return analysis.traces.reduce((sum, trace) => sum + trace.skipped.reduce((all, one) => all + one.count, 0), 0);
    default:
      return conversionsBy(analysis, name);
  }
}

/** A sum, or null where one part is not known. */
function sumOrNull(parts: readonly (number | null)[]): number | null {
  return parts.reduce<number | null>((sum, part) => (sum === null || part === null ? null : sum + part), 0);
}

/** `conversions.direction.to_private` and the like. */
function conversionsBy(analysis: Analysis, name: string): number | null {
  if (analysis.conversions.total === null) return null;
  const [, key, word] = name.split('.');
  if (key !== 'direction' && key !== 'origin' && key !== 'outcome') return null;
  return analysis.conversions.groups.reduce((sum, group) => (group[key] === word ? sum + group.count : sum), 0);
}

function judgeGroup(expected: GroupExpectation, analysis: Analysis): CheckCase {
  const words = Object.entries(expected.match);
  const vm = expected.vm === null ? [] : [`vm${expected.vm}`];
  const name = `conversions[${[...vm, ...words.map(([, word]) => word)].join(' ')}]`;
  if (analysis.conversions.total === null) return judgeCount(name, expected.count, null, analysis);
  const count = analysis.conversions.groups
    .filter((group) => expected.vm === null || group.vm === expected.vm)
    .filter((group) => words.every(([key, word]) => group[key as keyof typeof expected.match] === word))
    .reduce((sum, group) => sum + group.count, 0);
  return judgeCount(name, expected.count, count, analysis);
}

function judgeLatency(limit: LatencyExpectation, latency: LatencyReport | null): CheckCase {
  const name = `latency.${limit.direction}.${limit.figure}`;
  const group = latency?.groups.find(({ key }) => key[0] === limit.direction);
  const value = group?.whole[limit.figure] ?? null;
  if (value === null) {
    const message = `${name}: no conversion of which the whole stop was seen`;
    return { name, status: 'fail', message, details: [] };
  }
  if (isInside(value, limit.range)) return ok(name);
  const over = limit.range.max !== null && value > limit.range.max;
  const bound = over
    ? `limit ${formatDuration(limit.range.max)}`
    : `at least ${formatDuration(limit.range.min ?? 0)} expected`;
  const slowest = over ? slowestLines(latency!, limit) : [];
  return { name, status: 'fail', message: `${name}: ${formatDuration(value)}, ${bound}`, details: slowest };
}

function slowestLines(latency: LatencyReport, limit: LatencyExpectation): string[] {
  return latency.slowest
    .filter((slow) => slow.direction === limit.direction && slow.latencyNs > limit.range.max!)
    .slice(0, 3)
    .map(
      (slow) =>
        `conv${slow.id} ${formatDuration(slow.latencyNs)}${slow.gpa === null ? '' : ` gpa 0x${slow.gpa.toString(16)}`}`,
    );
}

function judgeUnavailable(spec: TraceSpec, analysis: Analysis): CheckCase[] {
  if (spec.unavailable === null) return [];
  const expected = new Set(spec.unavailable);
  const actual = new Map(analysis.unavailable.map((one) => [one.what, one]));
  const details = [
    ...[...actual.values()].filter((one) => !expected.has(one.what)).map((one) => `+ ${one.what}: ${one.missing}`),
    ...[...expected].filter((what) => !actual.has(what)).map((what) => `- ${what}`),
  ];
  if (details.length === 0) return [ok('unavailable')];
  return [{ name: 'unavailable', status: 'fail', message: 'unavailable: not what is expected', details }];
}

/** One case a rule: what is expected of it, nothing unexpected, or why it could not be judged. */
function judgeFindings(spec: TraceSpec, analysis: Analysis, rules: readonly string[]): CheckCase[] {
  const names = new Set([
    ...rules,
    ...analysis.findings.map((finding) => finding.rule),
    ...spec.findings.map((expected) => expected.rule),
  ]);
  return [...names].sort().map((rule) => judgeRule(rule, spec, analysis));
}

function judgeRule(rule: string, spec: TraceSpec, analysis: Analysis): CheckCase {
  const name = `rule ${rule}`;
  const found = analysis.findings.filter((finding) => finding.rule === rule && finding.verdict === 'fail');
  const inconclusive = analysis.findings.filter((finding) => finding.rule === rule && finding.verdict !== 'fail');
  const missing = analysis.unavailable.find((one) => one.what === rule);
  const expected = [...spec.findings.filter((one) => one.rule === rule)].sort((a, b) => strictness(b) - strictness(a));
  const unclaimed = new Set(found);
  const faults: string[] = [];
  const details: string[] = [];
  for (const one of expected) {
    const matches = found.filter((finding) => unclaimed.has(finding) && fits(finding, one));
    for (const finding of matches) unclaimed.delete(finding);
    if (isInside(matches.length, one.count)) continue;
    faults.push(`${ruleText(one)} was found ${times(matches.length)}, expected ${rangeText(one.count, String)}`);
    details.push(...matches.flatMap(findingLines));
  }
  const allowed = (finding: Finding) =>
    spec.allowed.some((one) => one.rule === rule && (one.vm === null || one.vm === finding.vm));
  const strangers = [...unclaimed].filter((finding) => !allowed(finding));
  if (strangers.length > 0) {
    const others = expected.length > 0 ? ' beyond what is expected' : ', expected none';
    faults.push(`${rule} was found ${times(strangers.length)}${others}`);
    details.push(...strangers.flatMap(findingLines));
  }
  if (faults.length > 0) {
    if (missing) details.push(`not judged: ${missing.missing}; record ${missing.record}`);
    details.push(...inconclusive.map((finding) => `? inconclusive ${finding.title}`));
    return { name, status: 'fail', message: `findings: ${faults.join('; ')}`, details };
  }
  if (expected.length > 0) return ok(name);
  if (missing)
    return { name, status: 'skip', message: `unavailable: ${missing.missing}`, details: [`record ${missing.record}`] };
  if (inconclusive.length === 0) return ok(name);
  return {
    name,
    status: 'skip',
    message: `inconclusive: ${inconclusive[0]!.title}`,
    details: inconclusive.flatMap(findingLines),
  };
}

function strictness(expected: FindingExpectation): number {
  return (expected.vm === null ? 0 : 2) + (expected.severity === null ? 0 : 1);
}

function fits(finding: Finding, expected: FindingExpectation): boolean {
  return (
    (expected.vm === null || finding.vm === expected.vm) &&
    (expected.severity === null || finding.severity === expected.severity)
  );
}

function ruleText(expected: FindingExpectation): string {
  const vm = expected.vm === null ? '' : ` of vm${expected.vm}`;
  return `${expected.severity === null ? '' : `${expected.severity} `}${expected.rule}${vm}`;
}

function times(count: number): string {
  return count === 1 ? 'once' : `${formatCount(count)} times`;
}

/** `+ error conversion-stall vm1 TITLE (stalls.dat, byte 184320)`, then the event itself. */
function findingLines(finding: Finding): string[] {
  const vm = finding.vm === null ? '' : ` vm${finding.vm}`;
  const [first] = finding.evidence;
  const where = first ? ` (${first.trace}, ${first.position})` : '';
  const head = `+ ${finding.verdict === 'fail' ? finding.severity : 'inconclusive'} ${finding.rule}${vm} ${finding.title}${where}`;
  return first && first.text !== '' ? [head, `    ${first.text}`] : [head];
}
