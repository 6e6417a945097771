/** What a reader must bear in mind: two recordings are never alike in everything. */
import { formatCount, formatDuration } from '../../base/units.js';
import type { DiffSide } from './side.js';

/** One sentence for each way in which the sides differ that bears on the comparison. What a side does not tell is no difference. */
export function notesOf(a: DiffSide, b: DiffSide): readonly string[] {
  const arches = (side: DiffSide): string => listed(side.traces.flatMap((t) => (t.arch === null ? [] : [t.arch])));
  return [
    ...clockNotes(a, b),
    ...differ('platforms', listed(a.platforms), listed(b.platforms)),
    ...differ('machines', arches(a), arches(b)),
    ...differ('VMs', String(a.vms), String(b.vms), '; findings are matched by the VM’s number'),
    ...lengthNote(a, b),
    ...[lossNote('A', a), lossNote('B', b)].flat(),
  ];
}

const listed = (words: readonly string[]): string => [...new Set(words)].sort().join(', ');

function differ(what: string, a: string, b: string, consequence = ''): string[] {
  return a === b || a === '' || b === '' ? [] : [`${what} differ: A ${a}, B ${b}${consequence}`];
}

function clockNotes(a: DiffSide, b: DiffSide): string[] {
  const [x, y] = [a.clockUnit ?? 'several units', b.clockUnit ?? 'several units'];
  if (a.clockUnit === null || x !== y) return [`stamps: A in ${x}, B in ${y}; no duration is compared`];
  const clocks = (side: DiffSide): string => listed(side.traces.map((t) => t.clock));
  const unit = x === 'ns' ? [] : [`stamps are ${x}, not ns; nothing is counted by the second`];
  return [...differ('clocks', clocks(a), clocks(b), '; durations are compared all the same'), ...unit];
}

/** From this factor on, two traces of one workload are no longer of one length. */
const LENGTHS_APART = 1.5;

function lengthNote({ seconds: a }: DiffSide, { seconds: b }: DiffSide): string[] {
  if (a === null || b === null || Math.max(a, b) < LENGTHS_APART * Math.min(a, b)) return [];
  const [x, y] = [formatDuration(a * 1e9), formatDuration(b * 1e9)];
  return [`lengths differ: A ${x}, B ${y}; counts are compared by the second or boot`];
}

function lossNote(name: string, side: DiffSide): string[] {
  if (side.lost === 0) return [];
  const count = side.lost === null ? 'an unknown number of events' : `${formatCount(side.lost)} events`;
  return [`${name} lost ${count}: a change that they could explain is not called one`];
}
