/** Findings of two sides: which are new, gone, the same, or changed. Matched by rule, VM and cause, not by time. */
import { SEVERITIES, type Finding, type Severity } from '../model-findings.js';
import { rateP } from './count-test.js';
import { untested, type Draft, type Outcome } from './outcome.js';
import type { DiffSide } from './side.js';

/**
 * `new`, `gone`: on one side only, where the other could judge the rule. `unjudged`: on one side only, and the other could
 * not. `worse`, `milder`: of another severity, or a verdict that became certain or doubtful. `same`: on both.
 */
export type FindingChange = 'new' | 'gone' | 'unjudged' | 'worse' | 'milder' | 'same';

export interface FindingsOfSide {
  /** The worst of them. */
  readonly severity: Severity;
  /** `fail` where at least one is. */
  readonly verdict: Finding['verdict'];
  /** How many findings, and the cases that they sum up. */
  readonly findings: number;
  readonly cases: number;
  /** Of the first, the worst. */
  readonly title: string;
}

export interface FindingComparison<T = Outcome> {
  readonly rule: string;
  readonly vm: number | null;
  /** The title without numbers, addresses and what stands in brackets. */
  readonly cause: string;
  readonly change: FindingChange;
  readonly a: FindingsOfSide | null;
  readonly b: FindingsOfSide | null;
  /** Why the other side could not judge, where it is `unjudged`. */
  readonly reason: string | null;
  /** How many findings there are by second of trace; told only where it is on both sides. */
  readonly outcome: T;
}

const NUMBER = /(?<![\w-])(?:0x[0-9a-f]+|[\d.,]+)(?:\s?(?:ns|us|µs|ms|s|[KMGT]i?B?)\b)?/gi;

/** The title of a finding without what differs from run to run: sizes, times, addresses, how many. */
export function causeOf(title: string): string {
  return (
    title
      .replace(/\s*\([^()]*\)/g, '')
      .replace(/;\s*\d+ such \w+/, '')
      .replace(NUMBER, '#')
      .replace(/#(?:\s?\+\s?#)+/g, '#')
      // one page was, two pages were
      .replace(/(# (?:RMP |other |such )?[a-z]+)s\b/g, '$1')
      .replace(/\bwere\b/g, 'was')
      .replace(/\bare\b/g, 'is')
      .trim()
  );
}

const isFailed = (finding: Finding): boolean => finding.verdict === 'fail';

function sideOf(findings: readonly Finding[]): FindingsOfSide | null {
  // Findings come worst first.
  const worst = findings.find(isFailed) ?? findings[0];
  if (worst === undefined) return null;
  return {
    severity: worst.severity,
    verdict: worst.verdict,
    findings: findings.length,
    cases: findings.reduce((sum, finding) => sum + finding.count, 0),
    title: worst.title,
  };
}

/** Compares all findings, worst first, those of B before those that only A has. */
export function compareFindings(a: DiffSide, b: DiffSide): readonly FindingComparison<Draft>[] {
  const keyOf = (f: Finding): string => JSON.stringify([f.rule, f.vm, causeOf(f.title)]);
  const keys = [...new Set([...b.findings, ...a.findings].map(keyOf))];
  return keys.map((key) => {
    const [rule, vm, cause] = JSON.parse(key) as [string, number | null, string];
    const of = (side: DiffSide): FindingsOfSide | null => sideOf(side.findings.filter((f) => keyOf(f) === key));
    const [x, y] = [of(a), of(b)];
    const blind = x === null ? a.unavailable.get(rule) : y === null ? b.unavailable.get(rule) : undefined;
    const reason = blind === undefined ? null : `${x === null ? 'A' : 'B'}: ${blind}`;
    return {
      ...{ rule, vm, cause, a: x, b: y, reason },
      change: reason === null ? changeOf(x, y) : 'unjudged',
      outcome: compareNumbers(x, y, [a, b]),
    };
  });
}

/** Lower is worse: an inconclusive finding is milder than any that failed. */
const rank = ({ severity, verdict }: FindingsOfSide): number =>
  SEVERITIES.indexOf(severity) + (verdict === 'fail' ? 0 : SEVERITIES.length);

function changeOf(a: FindingsOfSide | null, b: FindingsOfSide | null): FindingChange {
  if (a === null) return 'new';
  if (b === null) return 'gone';
  if (rank(a) === rank(b)) return 'same';
  return rank(b) < rank(a) ? 'worse' : 'milder';
}

function compareNumbers(
  x: FindingsOfSide | null,
  y: FindingsOfSide | null,
  [a, b]: readonly [DiffSide, DiffSide],
): Draft {
  if (x === null || y === null) return untested('not-comparable', x === null ? 'none in A' : 'none in B');
  if (a.seconds === null || b.seconds === null) {
    return untested('not-comparable', 'its length in seconds is not known');
  }
  const [ofA, ofB] = [x.findings / a.seconds, y.findings / b.seconds];
  const counted = [x, y].map(({ findings }, k) => ({ pieces: [findings], exposure: [a.seconds!, b.seconds!][k]! }));
  return {
    ...{ family: 'judged', sense: 'bad', verdict: null, reason: null, withoutLoss: null, low: null, high: null },
    ratio: ofB / ofA,
    p: rateP(counted[0]!, counted[1]!, 1),
    rises: ofB > ofA,
    isTooSmall: x.findings === y.findings,
  };
}

/** Whether it makes a regression: new or worse, or clearly more of them, and failed at this severity or a worse one. */
export function isFindingRegression({ change, b, outcome }: FindingComparison, failOn: Severity): boolean {
  if (b === null || b.verdict !== 'fail' || SEVERITIES.indexOf(b.severity) > SEVERITIES.indexOf(failOn)) return false;
  return change === 'new' || change === 'worse' || (change === 'same' && outcome.verdict === 'worse');
}
