import { formatCount } from '../../base/units.js';
import type { ConversionListing } from '../model-conversions.js';
import { CONVERSION_COLUMNS, conversionRow } from '../tables.js';
import type { CellValue } from '../table.js';
import { drawTable } from './table.js';

/** One row a conversion, then what was left out. */
export async function* renderConversions(listing: ConversionListing): AsyncGenerator<string> {
  let columns = CONVERSION_COLUMNS;
  const rows: (readonly CellValue[])[] = [];
  for await (const batch of listing.batches()) rows.push(...batch.map(conversionRow));
  // A column that says nothing in any row only makes the page wider.
  const filled = columns.map((_, k) => rows.some((row) => row[k] !== null));
  columns = columns.filter((_, k) => filled[k]);
  yield drawTable({ columns, rows: rows.map((row) => row.filter((_, k) => filled[k])) });
  if (listing.shown < listing.total) {
    const more = listing.isLimited ? '`--limit 0` shows all' : '`--slowest N` shows more';
    yield `\nShowing ${formatCount(listing.shown)} of ${formatCount(listing.total)} conversions; ${more}.\n`;
  }
}
