import { formatBytes, formatCount } from '../../base/units.js';
import { mergeNeighbours, sumStates, type StateChange, type StateRange, type StateReport } from '../model-state.js';
import { gmemName, rangeName, sinceStart, vmName } from '../names.js';
import type { RenderOptions } from '../render.js';
import { UNKNOWN_CELL } from '../table.js';
import { drawTable } from './layout.js';

/** Ranges with state and certainty, neighbours that look the same joined; with two instants what changed. */
export function* renderState(report: StateReport, options: RenderOptions): Generator<string> {
  const instant = (stamp: bigint): string =>
    `${sinceStart(stamp, null, options.unit)} (${sinceStart(stamp, report.startNs, options.unit)})`;
  const at = instant(report.atNs);
  if (report.untilNs !== null) {
    yield `${options.paint('strong', 'changed')} between ${at} and ${instant(report.untilNs)}\n`;
    yield list(report.changes, report.limit, changeRows);
    return;
  }
  yield `${options.paint('strong', 'state')} at ${at}\n`;
  if (report.ranges.length === 0) {
    yield '  nothing is known of that memory at that instant\n';
    return;
  }
  const sums = sumStates(report.ranges).map((s) => [place(s), s.state, formatBytes(s.bytes)]);
  yield `${drawTable(sums, { aligns: ['left', 'left', 'right'], indent: 2 })}\n\n`;
  yield list(mergeNeighbours(report.ranges), report.limit, rangeRows);
}

const place = (r: { readonly vm: number | null; readonly gmem: number | null }): string =>
  r.gmem === null ? vmName(r.vm) : `${vmName(r.vm)} ${gmemName(r.gmem)}`;

function rangeRows(ranges: readonly StateRange[]): string {
  return drawTable(
    ranges.map((r) => [
      place(r),
      rangeName(r.offset, r.offset === null ? null : r.size),
      r.gpa === null ? UNKNOWN_CELL : rangeName(r.gpa, r.offset === null ? r.size : null),
      r.state,
      r.certainty,
    ]),
    { head: ['', 'offset', 'gpa', 'state', 'certainty'], aligns: ['left', 'left', 'left', 'left', 'left'], indent: 2 },
  );
}

function changeRows(changes: readonly StateChange[]): string {
  return drawTable(
    changes.map((c) => [
      place(c),
      rangeName(c.offset ?? c.gpa, c.size),
      c.before ?? 'not known',
      c.after ?? 'not known',
      c.certainty,
    ]),
    {
      head: ['', changes.every((c) => c.offset !== null) ? 'offset' : 'offset or gpa', 'before', 'after', 'certainty'],
      aligns: ['left', 'left', 'left', 'left', 'left'],
      indent: 2,
    },
  );
}

function list<T>(all: readonly T[], limit: number, draw: (part: readonly T[]) => string): string {
  if (all.length === 0) return '  nothing\n';
  const part = limit === 0 ? all : all.slice(0, limit);
  const rest =
    part.length < all.length
      ? `\nshowing ${formatCount(part.length)} of ${formatCount(all.length)} ranges; --limit 0 shows all\n`
      : '';
  return `${draw(part)}\n${rest}`;
}
