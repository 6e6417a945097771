/**
 * Lost stretches while the events pass by: what a thread did before one says nothing of what it does after it, if it may
 * have been on that CPU meanwhile.
 */
import type { LossBorder } from './hidden-calls.js';
import type { LostSpan } from './state.js';

/** A stretch of a CPU (null: any) begins after `atNs`, or ends with the event at `atNs`. */
interface Border extends LossBorder {
  readonly cpu: number | null;
  /** Both borders have one stamp: which of the CPU's events with it came before the gap, no stamp tells. */
  readonly isPoint: boolean;
}

/** CPUs whose events are missing just now, and how many stretches say so. */
export type OpenLosses = Map<number, number>;

function bordersOf(lost: readonly LostSpan[]): Border[] {
  const borders = lost.flatMap(({ cpu, from, to, count: missing }): Border[] => {
    const isPoint = from === to;
    return [
      { atNs: from, cpu, isEnd: false, isPoint, count: missing },
      { atNs: to, cpu, isEnd: true, isPoint, count: missing },
    ];
  });
  return borders
    .filter(({ atNs }) => atNs !== Infinity)
    .sort((a, b) => a.atNs - b.atNs || Number(b.isEnd) - Number(a.isEnd));
}

function count(open: OpenLosses, cpu: number, change: number): void {
  const left = (open.get(cpu) ?? 0) + change;
  if (left > 0) open.set(cpu, left);
  else open.delete(cpu);
}

/**
 * Calls `taint` where a stretch begins (after the last event before it) and where it ends (before the first event after
 * it), with its CPU. Call what comes back before each event, in order; it keeps `open`.
 */
export function followLosses(
  lost: readonly LostSpan[],
  open: OpenLosses,
  taint: (cpu: number | null, border: LossBorder) => void,
): (ts: number, cpu: number) => void {
  const borders = bordersOf(lost);
  const points = new Set<number | null>();
  let next = 0;
  let pointNs = NaN;
  const pass = (border: Border): void => {
    const { atNs, cpu, isEnd, isPoint } = border;
    if (isPoint) {
      if (atNs !== pointNs) points.clear();
      pointNs = atNs;
      points.add(cpu);
    } else if (cpu !== null) count(open, cpu, isEnd ? -1 : 1);
    taint(cpu, border);
  };
  return (ts, cpu) => {
    for (; next < borders.length; next++) {
      const border = borders[next]!;
      if (!(border.atNs < ts || (border.isEnd && border.atNs === ts))) break;
      pass(border);
    }
    if (ts === pointNs && (points.has(cpu) || points.has(null)))
      taint(cpu, { count: Infinity, isEnd: false, atNs: ts });
  };
}
