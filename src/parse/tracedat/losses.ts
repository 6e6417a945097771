import type { LostStretch } from '../model.js';
import type { CpuStat } from './options.js';

/** What the walk of one CPU of one buffer found. */
export interface CpuOutcome {
  readonly cpu: number;
  readonly firstNs: bigint | null;
  readonly lost: readonly LostStretch[];
}

/**
 * The lost stretches of one buffer: the gaps that its pages tell of, completed by the kernel's own counts of overwritten
 * and dropped events. Page flags and `overrun` count the same events, so they are never added up.
 */
export function buildLosses(
  outcomes: readonly CpuOutcome[],
  stats: readonly CpuStat[],
): { lost: LostStretch[]; notes: string[] } {
  const lost: LostStretch[] = [];
  const notes: string[] = [];
  for (const outcome of outcomes) {
    const stat = stats.find((s) => s.cpu === outcome.cpu);
    lost.push(...(stat && stat.overrun > 0 ? withOverrun(outcome, stat.overrun, notes) : outcome.lost));
  }
  for (const stat of stats) {
    const isSilent = !outcomes.some((outcome) => outcome.cpu === stat.cpu);
    if (isSilent && stat.overrun > 0) lost.push(open(stat.cpu, stat.overrun, 'overwritten'));
    if (stat.dropped > 0) lost.push(open(stat.cpu, stat.dropped, 'dropped'));
    if (stat.commitOverrun > 0) lost.push(open(stat.cpu, stat.commitOverrun, 'commit-overrun'));
  }
  return { lost, notes };
}

function open(cpu: number, count: number, source: string): LostStretch {
  return { cpu, fromNs: null, toNs: null, count, source };
}

/** Where the page flags explain fewer events than the kernel overwrote, the rest is in the gaps without a count or before the first event. */
function withOverrun(outcome: CpuOutcome, overrun: number, notes: string[]): LostStretch[] {
  const flagged = outcome.lost.filter((stretch) => stretch.source === 'page-header');
  const known = flagged.reduce((sum, stretch) => sum + (stretch.count ?? 0), 0);
  const unknown = flagged.filter((stretch) => stretch.count === null);
  const rest = overrun - known;
  if (rest <= 0) return [...outcome.lost];
  if (unknown.length === 1) {
    return outcome.lost.map((stretch) => (stretch === unknown[0] ? { ...stretch, count: rest } : stretch));
  }
  if (unknown.length > 1) {
    notes.push(`cpu ${outcome.cpu}: ${rest} overwritten events are missing in ${unknown.length} gaps of unknown size`);
    return [...outcome.lost];
  }
  // No gap is left to hold them: the ring went round before its first event that is still there.
  return [
    { cpu: outcome.cpu, fromNs: null, toNs: outcome.firstNs, count: rest, source: 'ring-start' },
    ...outcome.lost,
  ];
}
