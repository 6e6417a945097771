/** Words for comparisons that the text and Markdown outputs share. */
import { formatCount, formatDuration } from '../../base/units.js';
import { plural } from '../names.js';
import { UNKNOWN_CELL } from '../table.js';
import type { CountComparison } from './compare-counts.js';
import type { FindingComparison, FindingsOfSide } from './compare-findings.js';
import type { LatencyComparison, LatencyTest } from './compare-latency.js';
import type { DiffReport } from './index.js';
import type { Outcome } from './outcome.js';

/** `to_shared explicit vm-attributes`. */
export function groupName({ key }: Pick<LatencyComparison, 'key'>): string {
  return key.map((value) => value ?? 'unknown').join(' ');
}

/** `+34 %`, `-8 %`, from ten times on `12 ×`; a dash where it is not known. */
export function changeWords(a: number | null, b: number | null): string {
  if (a === null || b === null) return UNKNOWN_CELL;
  if (a === b) return '0 %';
  if (a === 0) return 'new';
  const ratio = b / a;
  if (ratio >= 10) return `${formatCount(Math.round(ratio))} ×`;
  const percent = (ratio - 1) * 100;
  const digits = Math.abs(percent) < 1 ? 1 : 0;
  return `${percent > 0 ? '+' : '-'}${Math.abs(percent).toFixed(digits)} %`;
}

/** `1.31 ×`, `0.08 ×`, `32 ×`. */
export function ratioWords(ratio: number): string {
  return `${ratio >= 100 ? formatCount(Math.round(ratio)) : ratio.toPrecision(ratio >= 10 ? 2 : ratio < 0.1 ? 1 : 3)} ×`;
}

/** `p = 0.013`, `p < 0.0001`; after adjustment for all tests. */
export function pWords({ adjusted }: Outcome): string {
  if (adjusted === null) return 'not tested';
  if (adjusted < 0.0001) return 'p < 0.0001';
  return `p = ${adjusted >= 0.1 ? adjusted.toFixed(2) : adjusted.toPrecision(2)}`;
}

/** `median 0.61 ms → 0.82 ms, 1.31 × (1.15 to 1.50), p = 0.0003`. */
export function testWords(group: LatencyComparison, test: LatencyTest, duration: (ns: number) => string): string {
  const { outcome, statistic } = test;
  const name = statistic === 'median' ? 'p50' : statistic;
  const [a, b] = [group.a?.[name] ?? null, group.b?.[name] ?? null];
  const values = a === null || b === null ? '' : ` ${duration(a)} → ${duration(b)}`;
  if (outcome.reason !== null) return `${statistic}${values}: ${outcome.reason}`;
  const interval =
    outcome.low === null || outcome.high === null ? '' : ` (${bound(outcome.low)} to ${bound(outcome.high)})`;
  const ratio = outcome.ratio === null ? '' : `, ${ratioWords(outcome.ratio)}${interval}`;
  return `${statistic}${values}${ratio}, ${pWords(outcome)}`;
}

const bound = (ratio: number): string => (ratio >= 100 ? formatCount(Math.round(ratio)) : ratio.toPrecision(3));

/** `memory faults stale-after-reboot`. */
export function countName({ metric, label }: Pick<CountComparison, 'metric' | 'label'>): string {
  return label === '' ? metric : `${metric} ${label}`;
}

const perUnit = (count: number, of: number, unit: CountComparison['unit']): string => {
  if (unit === 'case') return `${formatCount(count)} of ${formatCount(of)}`;
  const rate = count / of;
  const text = rate === 0 ? '0' : rate >= 100 ? formatCount(Math.round(rate)) : rate.toPrecision(3);
  return unit === 'boot' ? `${text} a boot` : `${text}/s`;
};

/** `8 → 256 a boot, 32 ×, p < 0.0001`; counts that are no rates as they are. */
export function countWords(count: CountComparison): string {
  const { a, b, ofA, ofB, unit, outcome, dispersion } = count;
  if (a === null || b === null) return outcome.reason ?? UNKNOWN_CELL;
  if (ofA === null || ofB === null) return `${formatCount(a)} → ${formatCount(b)}`;
  const values = `${perUnit(a, ofA, unit)} → ${perUnit(b, ofB, unit)}`;
  if (outcome.reason !== null) return `${values}: ${outcome.reason}`;
  const ratio = outcome.ratio === null || outcome.ratio === 0 ? '' : `, ${ratioWords(outcome.ratio)}`;
  const bursts = dispersion !== null && dispersion > 1.5 ? `, bursts of about ${dispersion.toFixed(0)}` : '';
  return `${values}${ratio}, ${pWords(outcome)}${bursts}`;
}

const LABELS = { new: 'new', gone: 'gone', unjudged: 'not judged on both sides', worse: 'worse', milder: 'milder' };

function sideWords({ severity, verdict, findings, cases }: FindingsOfSide): string {
  const counts = [
    ...(findings === 1 ? [] : [plural(findings, 'finding')]),
    ...(cases === findings ? [] : [plural(cases, 'case')]),
  ].join(', ');
  return `${verdict === 'fail' ? severity : 'inconclusive'}${counts === '' ? '' : ` (${counts})`}`;
}

/** `new: warning (2 findings, 9 cases)`, `warning → error (2 findings)`. */
export function findingWords({ change, a, b, reason }: FindingComparison): string {
  const sides = [a, b].flatMap((side) => (side === null ? [] : [sideWords(side)]));
  const values = sides.length === 2 && sides[0] === sides[1] ? sides[0]! : sides.join(' → ');
  if (change === 'same') return values;
  return `${LABELS[change]}${reason === null ? '' : ` (${reason})`}: ${values}`;
}

/** The duration of a side's clock: of one that does not count ns, its own unit. */
export function durationWords({ a, b }: Pick<DiffReport, 'a' | 'b'>): (ns: number) => string {
  const isTime = a.clockUnit === 'ns' && b.clockUnit === 'ns';
  return isTime ? formatDuration : (value) => formatCount(Math.round(value));
}

export interface DiffVerdict {
  readonly tone: 'error' | 'good' | 'info';
  readonly word: string;
  readonly detail: string;
}

/** The one line that answers "is it worse?". */
export function diffVerdict({ summary, regressions, options }: DiffReport): DiffVerdict {
  const parts = [
    [summary.worse, 'worse'],
    [summary.better, 'better'],
    [summary.more + summary.less, 'changed'],
    [summary.same, 'same'],
    [summary['too-few'], 'too few to tell'],
    [summary['not-comparable'], 'not comparable'],
  ] as const;
  const detail = parts
    .filter(([n]) => n > 0)
    .map(([n, word]) => `${formatCount(n)} ${word}`)
    .join(', ');
  if (regressions > 0) return { tone: 'error', word: 'REGRESSION', detail };
  if (summary.better > 0) return { tone: 'good', word: 'BETTER', detail };
  if (summary.same + summary.more + summary.less === 0) return { tone: 'info', word: 'NOTHING TO COMPARE', detail };
  return { tone: 'good', word: `NO REGRESSION of ${(options.minChange * 100).toFixed(0)} % or more`, detail };
}
