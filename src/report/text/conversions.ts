import { formatCount } from '../../base/units.js';
import { errnoName } from '../errno.js';
import type { Conversion, ConversionListing } from '../model-conversions.js';
import { conversionName, durationOr, gmemName, rangeName, sinceStart, vmName } from '../names.js';
import type { RenderOptions } from '../render.js';
import { UNKNOWN_CELL } from '../table.js';
import { drawTable } from './layout.js';

/** One row a conversion. What was not shown is said, with the option that shows it. */
export async function* renderConversions(listing: ConversionListing, options: RenderOptions): AsyncGenerator<string> {
  if (listing.total === 0) {
    yield 'no conversion fits\n';
    return;
  }
  const wide = options.width >= 110;
  for await (const batch of listing.batches()) yield `${table(batch, { listing, wide, verbose: options.verbose })}\n`;
  if (listing.shown < listing.total) {
    const order = listing.slowestFirst ? 'the slowest ' : '';
    const more = listing.slowestFirst ? '--slowest N shows more' : '--limit 0 shows all';
    yield `\nshowing ${order}${formatCount(listing.shown)} of ${formatCount(listing.total)} conversions; ${more}\n`;
  }
}

interface Shape {
  readonly listing: ConversionListing;
  readonly wide: boolean;
  readonly verbose: boolean;
}

/** Columns in the order of importance; the wide form adds identity and how it was done. */
function table(batch: readonly Conversion[], { listing, wide, verbose }: Shape): string {
  const row = (c: Conversion): string[] => {
    const asked = c.requestNs ?? c.exitNs ?? c.attempts[0]?.startNs ?? c.commitNs;
    return [
      conversionName(c.id),
      asked === null || asked === undefined ? UNKNOWN_CELL : sinceStart(asked, listing.startNs),
      c.vm === null ? UNKNOWN_CELL : `${vmName(c.vm)}${c.vcpu === null ? '' : `.${c.vcpu}`}`,
      c.direction ?? UNKNOWN_CELL,
      wide || verbose ? c.origin : (ORIGIN_SHORT[c.origin] ?? c.origin),
      rangeName(c.gpa, c.size).replace(' KiB', 'K').replace(' MiB', 'M').replace(' GiB', 'G'),
      outcomeWords(c),
      durationOr(c.latencyNs),
      ...(wide ? [c.gmem === null ? UNKNOWN_CELL : `${gmemName(c.gmem)} ${rangeName(c.offset, null)}`] : []),
      ...(wide ? [c.mechanism, c.certainty] : [c.certainty === 'observed' ? '' : (CERTAINTY_SHORT[c.certainty] ?? '')]),
    ];
  };
  return drawTable(batch.map(row), {
    head: [
      '#',
      'asked',
      'vm.vcpu',
      'direction',
      'origin',
      'gpa',
      'outcome',
      'took',
      ...(wide ? ['offset', 'mechanism', 'certainty'] : ['']),
    ],
    aligns: ['left', 'right', 'left', 'left', 'left', 'left', 'left', 'right', 'left', 'left', 'left'],
    indent: 0,
  });
}

const ORIGIN_SHORT: Readonly<Record<string, string>> = { explicit: 'expl', implicit: 'impl', vmm: 'vmm' };
const CERTAINTY_SHORT: Readonly<Record<string, string>> = { inferred: 'inf', assumed: 'ass', unknown: '?' };

function outcomeWords(c: Conversion): string {
  const last = c.attempts.at(-1)?.errno ?? null;
  if (c.outcome === 'failed' && last !== null && last > 0) return `${c.outcome} ${errnoName(last)}`;
  const failed = c.attempts.filter((a) => a.errno !== null && a.errno > 0).length;
  return failed > 0 ? `${c.outcome} (${failed} failed)` : c.outcome;
}
