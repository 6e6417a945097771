/** Holds an analysis against what a spec expects of it. Pure: it sees only the models. */
import { formatCount, formatDuration, type ClockUnit } from '../../base/units.js';
import type { LatencyReport } from '../latency.js';
import { unitOf, type Analysis } from '../model.js';
import { unitName } from '../names.js';
import { countNamed, whyUnknown } from './counts.js';
import { judgeFindings } from './judge-findings.js';
import { isInside, rangeText } from './range.js';
import { caseOf, type CheckCase, type TraceResult } from './result.js';
import type { GroupExpectation, LatencyExpectation, Place, Range, TraceSpec } from './spec-types.js';

/** What a trace showed. */
export interface Observed {
  readonly analysis: Analysis;
  /** By direction; null where nobody asks for latencies. */
  readonly latency: LatencyReport | null;
  /** Names of all rules that were run. */
  readonly rules: readonly string[];
}

/** Judges one trace of a spec; `compared` are the cases of its baseline. */
export function judgeTrace(spec: TraceSpec, observed: Observed, compared: readonly CheckCase[] = []): TraceResult {
  const { analysis, latency, rules } = observed;
  const cases = [
    ...spec.counts.map((count) => judgeCount(count, countNamed(analysis, count.name), analysis)),
    ...spec.groups.map((group) => judgeGroup(group, analysis)),
    ...spec.latency.map((limit) => judgeLatency(limit, latency, unitOf(analysis.traces))),
    ...judgeUnavailable(spec, analysis),
    ...judgeFindings(spec, analysis, rules),
    ...compared,
  ];
  const status = cases.some((one) => one.status === 'fail') ? 'fail' : 'ok';
  return { name: spec.name, paths: spec.paths, place: spec.place, status, reason: '', cases };
}

interface Count {
  readonly name: string;
  readonly range: Range;
  readonly place: Place;
}

function judgeCount({ name, range, place }: Count, value: number | null, analysis: Analysis): CheckCase {
  const wanted = rangeText(range, formatCount);
  if (value === null) {
    const message = `${name}: not known, expected ${wanted}`;
    return caseOf('count', name, place, { status: 'fail', message, details: whyUnknown(analysis, name) });
  }
  if (isInside(value, range)) return caseOf('count', name, place);
  return caseOf('count', name, place, {
    status: 'fail',
    message: `${name}: ${formatCount(value)}, expected ${wanted}`,
  });
}

function judgeGroup({ match, vm, count: range, place }: GroupExpectation, analysis: Analysis): CheckCase {
  const words = Object.entries(match);
  const name = `conversions[${[...(vm === null ? [] : [`vm${vm}`]), ...words.map(([, word]) => word)].join(' ')}]`;
  if (analysis.conversions.total === null) return judgeCount({ name, range, place }, null, analysis);
  const count = analysis.conversions.groups
    .filter((group) => vm === null || group.vm === vm)
    .filter((group) => words.every(([key, word]) => group[key as keyof typeof match] === word))
    .reduce((sum, group) => sum + group.count, 0);
  return judgeCount({ name, range, place }, count, analysis);
}

function judgeLatency(limit: LatencyExpectation, latency: LatencyReport | null, unit: ClockUnit): CheckCase {
  const name = `latency.${limit.direction}.${limit.figure}`;
  if (unit !== 'ns') {
    const message = `${name}: not known, the trace’s clock gives ${unitName(unit)} and no time`;
    return caseOf('latency', name, limit.place, { status: 'fail', message, details: ['record -C mono'] });
  }
  const group = latency?.groups.find(({ key }) => key[0] === limit.direction);
  const value = group?.whole[limit.figure] ?? null;
  if (value === null) {
    const message = `${name}: no conversion of which the whole stop was seen`;
    return caseOf('latency', name, limit.place, { status: 'fail', message });
  }
  if (isInside(value, limit.range)) return caseOf('latency', name, limit.place);
  const over = limit.range.max !== null && value > limit.range.max;
  const bound = over
    ? `limit ${formatDuration(limit.range.max)}`
    : `at least ${formatDuration(limit.range.min ?? 0)} expected`;
  const message = `${name}: ${formatDuration(value)}, ${bound}`;
  return caseOf('latency', name, limit.place, {
    status: 'fail',
    message,
    details: over ? slowestLines(latency!, limit) : [],
  });
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
  const expected = new Set(spec.unavailable.names);
  const actual = new Map(analysis.unavailable.map((one) => [one.what, one]));
  const details = [
    ...[...actual.values()].filter((one) => !expected.has(one.what)).map((one) => `+ ${one.what}: ${one.missing}`),
    ...[...expected].filter((what) => !actual.has(what)).map((what) => `- ${what}`),
  ];
  if (details.length === 0) return [caseOf('unavailable', 'unavailable', spec.unavailable.place)];
  const message = 'unavailable: not what is expected';
  return [caseOf('unavailable', 'unavailable', spec.unavailable.place, { status: 'fail', message, details })];
}
