/** What a spec of `check` says, as plain data (schema/check.schema.json). */
import type { Severity } from '../model-findings.js';
import type { Place } from './yaml.js';

export type { Place } from './yaml.js';

/** A number that is expected: exact where both ends are equal; null = open. */
export interface Range {
  readonly min: number | null;
  readonly max: number | null;
}

/** A count by its name in the spec: `conversions.total`, `conversions.direction.to_private`, `memory_faults`. */
export interface CountExpectation {
  readonly name: string;
  readonly range: Range;
  readonly place: Place;
}

export const GROUP_KEYS = ['direction', 'origin', 'request', 'mechanism', 'outcome'] as const;

/** Conversions that agree in all the given properties. */
export interface GroupExpectation {
  readonly match: Readonly<Partial<Record<(typeof GROUP_KEYS)[number], string>>>;
  readonly vm: number | null;
  readonly count: Range;
  readonly place: Place;
}

export interface FindingExpectation {
  readonly rule: string;
  readonly vm: number | null;
  readonly severity: Severity | null;
  readonly count: Range;
  readonly place: Place;
}

export interface AllowedFinding {
  readonly rule: string;
  readonly vm: number | null;
}

/** What must be not available, and nothing else. */
export interface UnavailableExpectation {
  readonly names: readonly string[];
  readonly place: Place;
}

export const LATENCY_FIGURES = ['min', 'p50', 'p90', 'p99', 'p999', 'max', 'mean'] as const;

/** A limit of one figure of one direction's latency, ns. A plain duration in the spec is an upper limit. */
export interface LatencyExpectation {
  readonly direction: string;
  readonly figure: (typeof LATENCY_FIGURES)[number];
  readonly range: Range;
  readonly place: Place;
}

/** How far figures may lie from those of the baseline. */
export interface Tolerance {
  /** Share of a count, 0.02 = 2 %. */
  readonly counts: number;
  /** Share of a time. */
  readonly latency: number;
  /** A change of a time up to this is never drift, ns. */
  readonly latencyFloorNs: number;
}

export const DEFAULT_TOLERANCE: Tolerance = { counts: 0, latency: 0.25, latencyFloorNs: 1e6 };

export interface TraceSpec {
  readonly name: string;
  /** As in the spec: relative to its folder. */
  readonly paths: readonly string[];
  readonly place: Place;
  readonly optional: boolean;
  readonly counts: readonly CountExpectation[];
  readonly groups: readonly GroupExpectation[];
  /** null = the spec does not say: none are expected, unless a baseline tells them. */
  readonly findings: readonly FindingExpectation[] | null;
  readonly allowed: readonly AllowedFinding[];
  /** null = not asked. */
  readonly unavailable: UnavailableExpectation | null;
  readonly latency: readonly LatencyExpectation[];
  /** `rule.param` → value as text. */
  readonly params: ReadonlyMap<string, string>;
  /** Rules that judge this trace; empty = all. */
  readonly rules: readonly string[];
  readonly ignoredRules: readonly string[];
  /** Whether it is compared with its entry in the baseline. */
  readonly baseline: boolean;
  readonly tolerance: Tolerance;
}

export interface CheckSpec {
  readonly path: string;
  /** The baseline file, relative to the spec's folder. */
  readonly baseline: string | null;
  readonly traces: readonly TraceSpec[];
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
