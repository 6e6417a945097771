/** The diff of two sides: everything compared, judged together, with what could not be. */
import type { Grouping } from '../latency.js';
import type { Severity } from '../model-findings.js';
import { compareCounts, type CountComparison } from './compare-counts.js';
import { compareFindings, isFindingRegression, type FindingComparison } from './compare-findings.js';
import { compareLatency, type LatencyComparison } from './compare-latency.js';
import { notesOf } from './notes.js';
import { settle, type DiffSettings, type Draft, type Outcome, type Verdict } from './outcome.js';
import type { DiffSide } from './side.js';

export { readSide, type DiffSide } from './side.js';

export interface DiffOptions extends DiffSettings {
  readonly by: readonly Grouping[];
  /** Severity from which a new finding is a regression. */
  readonly failOn: Severity;
}

/** How a side is introduced. */
export type SideHead = Pick<DiffSide, 'traces' | 'clockUnit' | 'seconds' | 'platforms' | 'vms' | 'lost' | 'leftOut'>;

export interface DiffReport {
  readonly options: DiffOptions;
  readonly a: SideHead;
  readonly b: SideHead;
  /** What to bear in mind when reading: other clocks, platforms, losses. */
  readonly notes: readonly string[];
  readonly latency: readonly LatencyComparison[];
  readonly counts: readonly CountComparison[];
  readonly findings: readonly FindingComparison[];
  /** Rules and figures that one side can give and the other cannot. */
  readonly unavailable: readonly { readonly what: string; readonly side: 'a' | 'b'; readonly missing: string }[];
  /** How many comparisons ended how; phases are not counted, findings by what became of them. */
  readonly summary: Readonly<Record<Verdict, number>>;
  /** Number of comparisons that make the diff a regression. */
  readonly regressions: number;
}

/** Compares two sides. Pure; all tests of a family are adjusted for one another. */
export function compareSides(a: DiffSide, b: DiffSide, options: DiffOptions): DiffReport {
  const drafts = {
    latency: compareLatency(a, b, options.alpha),
    counts: compareCounts(a, b, options.alpha),
    findings: compareFindings(a, b),
  };
  const all = [
    ...drafts.latency.flatMap((g) => [...g.tests, ...g.phases].map((t) => t.outcome)),
    ...[...drafts.counts, ...drafts.findings].map((c) => c.outcome),
  ];
  const outcomes = settle(all, options);
  const settled = <T extends { readonly outcome: Draft }>(item: T): Omit<T, 'outcome'> & { outcome: Outcome } => ({
    ...item,
    outcome: outcomes.get(item.outcome)!,
  });
  const latency = drafts.latency.map((g) => ({ ...g, tests: g.tests.map(settled), phases: g.phases.map(settled) }));
  const counts = drafts.counts.map(settled);
  const findings = drafts.findings.map(settled);
  const bad = findings.filter((finding) => isFindingRegression(finding, options.failOn)).length;
  const tests = [...latency.flatMap((g) => g.tests), ...counts];
  return {
    ...{ options, a: headOf(a), b: headOf(b), notes: notesOf(a, b), latency, counts, findings },
    unavailable: unavailableOf(a, b),
    summary: summaryOf([
      ...tests.map((t) => t.outcome.verdict),
      ...findings.map((f) => findingVerdict(f, options.failOn)),
    ]),
    regressions: bad + tests.filter((t) => t.outcome.verdict === 'worse').length,
  };
}

function headOf({ traces, clockUnit, seconds, platforms, vms, lost, leftOut }: DiffSide): SideHead {
  return { traces, clockUnit, seconds, platforms, vms, lost, leftOut };
}

/** What a finding counts as in the summary. */
export function findingVerdict(finding: FindingComparison, failOn: Severity): Verdict {
  if (isFindingRegression(finding, failOn)) return 'worse';
  switch (finding.change) {
    case 'unjudged':
      return 'not-comparable';
    case 'gone':
    case 'milder':
      return 'better';
    case 'new':
    case 'worse':
      return 'more';
    case 'same':
      return finding.outcome.verdict === 'better' ? 'better' : 'same';
  }
}

function unavailableOf(a: DiffSide, b: DiffSide): DiffReport['unavailable'] {
  const onlyIn = (side: 'a' | 'b', own: DiffSide, other: DiffSide): DiffReport['unavailable'] =>
    [...own.unavailable].flatMap(([what, missing]) => (other.unavailable.has(what) ? [] : [{ what, side, missing }]));
  return [...onlyIn('a', a, b), ...onlyIn('b', b, a)];
}

function summaryOf(verdicts: readonly Verdict[]): DiffReport['summary'] {
  const count = (verdict: Verdict): number => verdicts.filter((v) => v === verdict).length;
  return {
    worse: count('worse'),
    better: count('better'),
    more: count('more'),
    less: count('less'),
    same: count('same'),
    'too-few': count('too-few'),
    'not-comparable': count('not-comparable'),
  };
}
