import { formatCount, type ClockUnit } from '../../base/units.js';
import { errnoName } from '../errno.js';
import type { Conversion, ConversionListing } from '../model-conversions.js';
import { durationOr, gmemName, rangeName, sinceStart, vmName } from '../names.js';
import type { RenderOptions } from '../render.js';
import { UNKNOWN_CELL } from '../table.js';
import { unitNote } from './latency.js';
import { drawTable, wrap } from './layout.js';

/** The table of everything needs so many columns. */
const WIDE = 135;

/** One row a conversion. What was not shown is said, with the option that shows it. */
export async function* renderConversions(listing: ConversionListing, options: RenderOptions): AsyncGenerator<string> {
  if (listing.total === 0) {
    yield 'no conversion fits\n';
    return;
  }
  for (const note of unitNote(options)) yield `${wrap(note, options.width, '  ')}\n`;
  const draw = options.width >= WIDE || options.verbose ? wideTable : narrowTable;
  for await (const batch of listing.batches()) yield `${draw(batch, { start: listing.startNs, unit: options.unit })}\n`;
  if (listing.shown < listing.total) {
    const order = listing.slowestFirst ? 'the slowest ' : '';
    const more = listing.isLimited ? '--limit 0 shows all' : '--slowest N shows more';
    yield `\nshowing ${order}${formatCount(listing.shown)} of ${formatCount(listing.total)} conversions; ${more}\n`;
  }
}

interface Axis {
  /** First stamp of the trace. */
  readonly start: bigint | null;
  readonly unit: ClockUnit;
}

function askedAt(c: Conversion, { start, unit }: Axis): string {
  const ns = c.requestNs ?? c.exitNs ?? c.attempts[0]?.startNs ?? c.commitNs;
  return ns === null ? UNKNOWN_CELL : sinceStart(ns, start, unit);
}

const vcpuName = (c: Conversion): string =>
  c.vm === null ? UNKNOWN_CELL : `${vmName(c.vm)}${c.vcpu === null ? '' : `.${c.vcpu}`}`;

const shortRange = (c: Conversion): string => rangeName(c.gpa, c.size).replace(/ ([KMGT])iB/, '$1');

/** For 80 columns: what is usual (explicit, observed, no failed try) is left out, the rest is a note. */
function narrowTable(batch: readonly Conversion[], axis: Axis): string {
  const rows = batch.map((c) => [
    String(c.id),
    askedAt(c, axis),
    vcpuName(c),
    c.direction?.replace('to_', '') ?? UNKNOWN_CELL,
    shortRange(c),
    c.outcome,
    durationOr(axis.unit)(c.latencyNs),
    [
      ...(c.origin === 'explicit' ? [] : [c.origin]),
      ...triesNote(c),
      ...(c.certainty === 'observed' ? [] : [c.certainty]),
    ].join(' '),
  ]);
  return drawTable(rows, {
    head: ['conv', 'asked', 'vm', 'to', 'gpa', 'outcome', 'took', ''],
    aligns: ['right', 'right', 'left', 'left', 'left', 'left', 'right', 'left'],
    indent: 0,
  });
}

/** The failed tries of a conversion, or the errno that was its end. */
function triesNote(c: Conversion): readonly string[] {
  const last = c.attempts.at(-1)?.errno ?? null;
  if (c.outcome === 'failed' && last !== null && last > 0) return [errnoName(last)];
  const failed = c.attempts.filter((a) => a.errno !== null && a.errno > 0).length;
  return failed > 0 ? [`${failed} failed`] : [];
}

/** Everything in words, and how it was done. */
function wideTable(batch: readonly Conversion[], axis: Axis): string {
  const rows = batch.map((c) => [
    String(c.id),
    askedAt(c, axis),
    vcpuName(c),
    c.direction ?? UNKNOWN_CELL,
    c.origin,
    shortRange(c),
    c.gmem === null || c.offset === null ? UNKNOWN_CELL : `${gmemName(c.gmem)} ${rangeName(c.offset, null)}`,
    [c.outcome, ...triesNote(c)].join(' '),
    durationOr(axis.unit)(c.latencyNs),
    c.mechanism,
    c.certainty,
  ]);
  return drawTable(rows, {
    head: ['conv', 'asked', 'vm.vcpu', 'direction', 'origin', 'gpa', 'offset', 'outcome', 'took', 'by', 'certainty'],
    aligns: ['right', 'right', 'left', 'left', 'left', 'left', 'left', 'left', 'right', 'left', 'left'],
    indent: 0,
  });
}
