/** What `check` found out, as every output of it sees it. */
import type { Place } from './spec-types.js';

/** `skip` = could not be judged, with the reason in `message`. */
export type CaseStatus = 'ok' | 'fail' | 'skip';

/** What an expectation is about. */
export type CaseKind = 'count' | 'latency' | 'unavailable' | 'rule' | 'baseline';

/** Where in a trace something is to be seen. */
export interface CaseEvidence {
  /** Path as it was opened. */
  readonly trace: string;
  /** `cpu 1 byte 69632` or `line 12`. */
  readonly position: string;
  readonly text: string;
}

/** One expectation, or one rule, and how it came out. */
export interface CheckCase {
  /** `conversions.total`, `latency.to_private.p99`, `rule conversion-stall`. */
  readonly name: string;
  readonly kind: CaseKind;
  /** The rule that it is about. */
  readonly rule: string | null;
  /** Where the spec asks for it; of what no line asks for, the trace's entry. */
  readonly place: Place;
  readonly status: CaseStatus;
  /** What is expected and what was found, in one line; of what is as expected empty or a remark. */
  readonly message: string;
  /** Evidence in words, a line each. */
  readonly details: readonly string[];
  readonly evidence: readonly CaseEvidence[];
}

export interface TraceResult {
  readonly name: string;
  readonly paths: readonly string[];
  readonly place: Place;
  /** `unreadable`: the input could not be read at all. */
  readonly status: 'ok' | 'fail' | 'skip' | 'unreadable';
  /** Why it was skipped or could not be read. */
  readonly reason: string;
  readonly cases: readonly CheckCase[];
}

export interface CheckReport {
  /** The spec's path as the user named it. */
  readonly spec: string;
  readonly traces: readonly TraceResult[];
}

/** Whether every trace that was judged shows what it must, and all could be read. */
export function isMet(report: CheckReport): boolean {
  return report.traces.every((trace) => trace.status === 'ok' || trace.status === 'skip');
}

/** A case without evidence; `ok` where nothing else is given. */
export function caseOf(
  kind: CaseKind,
  name: string,
  place: Place,
  outcome: Partial<Pick<CheckCase, 'status' | 'message' | 'details' | 'rule' | 'evidence'>> = {},
): CheckCase {
  return { name, kind, rule: null, place, status: 'ok', message: '', details: [], evidence: [], ...outcome };
}
