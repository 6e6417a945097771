/**
 * Lost stretches while the events pass by: what a thread did before one says nothing of what it does after it, if it may
 * have been on that CPU meanwhile.
 */
import type { LostSpan } from './state.js';

/** A stretch of a CPU (null: any) begins after `at`, or ends with the event at `at`. */
interface Border {
  readonly at: number;
  readonly cpu: number | null;
  readonly isEnd: boolean;
  /** Both borders have one stamp: which of the CPU's events with it came before the gap, no stamp tells. */
  readonly isPoint: boolean;
}

/** CPUs whose events are missing just now, and how many stretches say so. */
export type OpenLosses = Map<number, number>;

function bordersOf(lost: readonly LostSpan[]): Border[] {
  const borders = lost.flatMap(({ cpu, from, to }): Border[] => {
    const isPoint = from === to;
    return [
      { at: from, cpu, isEnd: false, isPoint },
      { at: to, cpu, isEnd: true, isPoint },
    ];
  });
  return borders.filter(({ at }) => at !== Infinity).sort((a, b) => a.at - b.at || Number(b.isEnd) - Number(a.isEnd));
}

function count(open: OpenLosses, cpu: number, change: number): void {
  const left = (open.get(cpu) ?? 0) + change;
  if (left > 0) open.set(cpu, left);
  else open.delete(cpu);
}

/**
 * Calls `taint` where a stretch begins (after the last event before it) and where it ends (before the first event after
 * it), with its CPU and time (ns as in LostSpan). Call what comes back before each event, in order; it keeps `open`.
 */
export function followLosses(
  lost: readonly LostSpan[],
  open: OpenLosses,
  taint: (cpu: number | null, atNs: number) => void,
): (ts: number, cpu: number) => void {
  const borders = bordersOf(lost);
  const points = new Set<number | null>();
  let next = 0;
  let pointNs = NaN;
  const pass = ({ at, cpu, isEnd, isPoint }: Border): void => {
    if (isPoint) {
      if (at !== pointNs) points.clear();
      pointNs = at;
      points.add(cpu);
    } else if (cpu !== null) count(open, cpu, isEnd ? -1 : 1);
    taint(cpu, at);
  };
  return (ts, cpu) => {
    for (; next < borders.length; next++) {
      const border = borders[next]!;
      if (!(border.at < ts || (border.isEnd && border.at === ts))) break;
      pass(border);
    }
    if (ts === pointNs && (points.has(cpu) || points.has(null))) taint(cpu, ts);
  };
}
