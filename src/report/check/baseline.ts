/**
 * The baseline of `check`: what traces showed when somebody found it good, and what has changed since
 * (schema/baseline.schema.json).
 */
import { formatCount, formatDuration } from '../../base/units.js';
import { unitOf } from '../model.js';
import type { Stats } from '../stats.js';
import { COUNT_NAMES, countNamed } from './counts.js';
import { isAllowed } from './judge-findings.js';
import type { Observed } from './judge.js';
import { caseOf, type CheckCase } from './result.js';
import { DIRECTIONS, type Tolerance, type TraceSpec } from './spec-types.js';

export const RULE_STATES = ['judged', 'inconclusive', 'unavailable'] as const;
export type RuleState = (typeof RULE_STATES)[number];

/** Figures of a latency that a baseline keeps. The tail beyond is one sample's, and no measure. */
const FIGURES = ['p50', 'p90', 'p99', 'max'] as const;

/** Numbers by name; null = the trace did not tell. */
export type Figures = Readonly<Record<string, number | null>>;

/** What one trace showed. Times in ns. */
export interface BaselineEntry {
  readonly counts: Figures;
  /** `error conversion-stall vm1` → number of findings. */
  readonly findings: Figures;
  readonly rules: Readonly<Record<string, RuleState>>;
  /** `to_private.p99_ns`, `to_private.count`. */
  readonly latency: Figures;
}

/** Entries by the name of the trace. */
export type Baseline = ReadonlyMap<string, BaselineEntry>;

/** What a trace shows now, as its entry in a baseline. Findings that the spec allows to come and go are left out. */
export function baselineEntryOf(spec: TraceSpec, { analysis, latency, rules }: Observed): BaselineEntry {
  const findings = new Map<string, number>();
  for (const finding of analysis.findings) {
    if (finding.verdict !== 'fail' || isAllowed(spec, finding)) continue;
    const key = `${finding.severity} ${finding.rule}${finding.vm === null ? '' : ` vm${finding.vm}`}`;
    findings.set(key, (findings.get(key) ?? 0) + 1);
  }
  const stateOf = (rule: string): RuleState => {
    if (analysis.unavailable.some((one) => one.what === rule)) return 'unavailable';
    const isOpen = analysis.findings.some((one) => one.rule === rule && one.verdict !== 'fail');
    return isOpen ? 'inconclusive' : 'judged';
  };
  const wholes = DIRECTIONS.map((direction) => ({
    direction,
    whole: latency?.groups.find(({ key }) => key[0] === direction)?.whole ?? null,
  }));
  const isTime = unitOf(analysis.traces) === 'ns';
  return {
    counts: Object.fromEntries(COUNT_NAMES.map((name) => [name, countNamed(analysis, name)])),
    findings: Object.fromEntries([...findings].sort(([a], [b]) => (a < b ? -1 : 1))),
    rules: Object.fromEntries([...rules].sort().map((rule) => [rule, stateOf(rule)])),
    latency: Object.fromEntries(wholes.flatMap(({ direction, whole }) => latencyFigures(direction, whole, isTime))),
  };
}

/** Cycles and counts are no time: their figures are not known. */
function latencyFigures(
  direction: string,
  whole: Stats | null,
  isTime: boolean,
): readonly (readonly [string, number | null])[] {
  return [
    [`${direction}.count`, whole?.count ?? 0],
    ...FIGURES.map((figure) => [`${direction}.${figure}_ns`, (isTime ? whole?.[figure] : null) ?? null] as const),
  ];
}

/** Compares a trace with its entry (null = there is none): a case each of counts, findings, rules and latency. */
export function compareBaseline(spec: TraceSpec, was: BaselineEntry | null, now: BaselineEntry): readonly CheckCase[] {
  if (was === null) {
    const message = 'baseline: it has no entry for this trace';
    const details = ['check --update-baseline adds it'];
    return [caseOf('baseline', 'baseline', spec.place, { status: 'fail', message, details })];
  }
  const { tolerance } = spec;
  const drifts: Readonly<Record<string, readonly Drift[]>> = {
    counts: compareFigures(was.counts, now.counts, (name, a, b) => countDrift(name, { a, b, tolerance })),
    findings: compareFigures(was.findings, now.findings, (name, a, b) =>
      countDrift(`finding ${name}`, { a: a ?? 0, b: b ?? 0, tolerance }),
    ),
    rules: compareRules(was.rules, now.rules),
    latency: compareFigures(was.latency, now.latency, (name, a, b) =>
      name.endsWith('_ns')
        ? timeDrift(`latency.${name.slice(0, -'_ns'.length)}`, { a, b, tolerance })
        : countDrift(`latency.${name}`, { a: a ?? 0, b: b ?? 0, tolerance }),
    ),
  };
  return Object.entries(drifts).map(([what, found]) => driftCase(spec, what, found));
}

/** One difference; `harmless` ones are told and fail nothing. */
interface Drift {
  readonly line: string;
  readonly harmless: boolean;
}

function driftCase(spec: TraceSpec, what: string, drifts: readonly Drift[]): CheckCase {
  const name = `baseline ${what}`;
  const lines = (harmless: boolean) => drifts.filter((one) => one.harmless === harmless).map((one) => one.line);
  if (lines(false).length > 0) {
    const message = `${name}: not as it was`;
    return caseOf('baseline', name, spec.place, {
      status: 'fail',
      message,
      details: [...lines(false), ...lines(true)],
    });
  }
  if (drifts.length === 0) return caseOf('baseline', name, spec.place);
  const message = `${name}: better or new; check --update-baseline would keep it`;
  return caseOf('baseline', name, spec.place, { message, details: lines(true) });
}

/** A figure before (`a`) and now (`b`). */
interface Pair {
  readonly a: number | null;
  readonly b: number | null;
  readonly tolerance: Tolerance;
}

function compareFigures(
  was: Figures,
  now: Figures,
  compare: (name: string, a: number | null, b: number | null) => Drift | null,
): readonly Drift[] {
  const names = new Set([...Object.keys(was), ...Object.keys(now)]);
  return [...names].flatMap((name) => compare(name, was[name] ?? null, now[name] ?? null) ?? []);
}

function countDrift(name: string, { a, b, tolerance: { counts } }: Pair): Drift | null {
  const said = (value: number | null): string => (value === null ? 'not known' : formatCount(value));
  if (a === b || (a !== null && b !== null && Math.abs(b - a) <= a * counts)) return null;
  const allowed = counts === 0 || a === null || b === null ? '' : ` (tolerance ${percent(counts)})`;
  return { line: `${name}: ${said(b)}, was ${said(a)}${allowed}`, harmless: false };
}

/** Faster is no fault. */
function timeDrift(name: string, { a, b, tolerance: { latency, latencyFloorNs } }: Pair): Drift | null {
  const said = (value: number | null): string => (value === null ? 'not known' : formatDuration(value));
  if (a === null || b === null) {
    return a === b ? null : { line: `${name}: ${said(b)}, was ${said(a)}`, harmless: false };
  }
  if (Math.abs(b - a) <= Math.max(a * latency, latencyFloorNs)) return null;
  const isTold = formatDuration(a) !== formatDuration(b);
  const exact = (value: number): string => (isTold ? formatDuration(value) : `${formatCount(value)} ns`);
  const floor = latencyFloorNs === 0 ? '' : `, at least ${formatDuration(latencyFloorNs)}`;
  return { line: `${name}: ${exact(b)}, was ${exact(a)} (tolerance ${percent(latency)}${floor})`, harmless: b < a };
}

const percent = (share: number): string => `${Math.round(share * 1e6) / 1e4} %`;

/** A rule that is new or can be judged now is no fault; one that is gone or cannot be judged any more is. */
function compareRules(was: BaselineEntry['rules'], now: BaselineEntry['rules']): readonly Drift[] {
  const names = new Set([...Object.keys(was), ...Object.keys(now)]);
  return [...names].sort().flatMap((name): Drift[] => {
    const before = was[name];
    const after = now[name];
    if (before === after) return [];
    const said = `rule ${name}: ${after ?? 'not run'}, was ${before ?? 'not in the baseline'}`;
    return [{ line: said, harmless: before === undefined || after === 'judged' }];
  });
}
