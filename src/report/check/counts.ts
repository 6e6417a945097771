/** The counts of an analysis by the names that specs and baselines call them. */
import type { Analysis } from '../model.js';
import { DIRECTIONS, ORIGINS, OUTCOMES, PLAIN_COUNTS } from './spec-types.js';

/** Every count that there is, in the order in which it is shown. */
export const COUNT_NAMES: readonly string[] = [
  'conversions.total',
  ...DIRECTIONS.map((word) => `conversions.direction.${word}`),
  ...ORIGINS.map((word) => `conversions.origin.${word}`),
  ...OUTCOMES.map((word) => `conversions.outcome.${word}`),
  'conversions.attempts',
  'conversions.failed_attempts',
  ...PLAIN_COUNTS,
];

/** A count by its name; null = the trace does not tell. */
export function countNamed(analysis: Analysis, name: string): number | null {
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

/** Why a figure is not known, a line each. */
export function whyUnknown(analysis: Analysis, name: string): readonly string[] {
  const what = name.split('.')[0]!;
  return analysis.unavailable
    .filter((missing) => missing.what === what || missing.what === name)
    .map((missing) => `${missing.missing}; record ${missing.record}`);
}
