import { createRequire } from 'node:module';
import type Papa from 'papaparse';
import { diffTable } from '../diff/table.js';
import { joinTables, latencyTables } from '../latency-tables.js';
import type { ConversionListing } from '../model-conversions.js';
import type { Output } from '../render.js';
import type { CellValue, Table, TableColumn } from '../table.js';
import { CONVERSION_COLUMNS, conversionRow, findingsTable, rulesTable, stateTable } from '../tables.js';

// papaparse is CommonJS; loaded only when CSV is written.
const require = createRequire(import.meta.url);

function unparse(rows: readonly (readonly CellValue[])[]): string {
  const papa = require('papaparse') as typeof Papa;
  const plain = rows.map((row) => row.map((value) => (typeof value === 'bigint' ? String(value) : value)));
  return `${papa.unparse(plain, { newline: '\n' })}\n`;
}

const header = (columns: readonly TableColumn[]): string => unparse([columns.map((c) => c.name)]);

function* renderTable(table: Table): Generator<string> {
  yield header(table.columns);
  if (table.rows.length > 0) yield unparse(table.rows);
}

async function* renderConversions(listing: ConversionListing): AsyncGenerator<string> {
  yield header(CONVERSION_COLUMNS);
  for await (const batch of listing.batches()) if (batch.length > 0) yield unparse(batch.map(conversionRow));
}

/** CSV (RFC 4180, LF): of an analysis its findings, of the latency report all its parts as one table, of the others their rows. Unknown values are empty. */
export const csvOutput: Output = {
  name: 'csv',
  description: 'for spreadsheets; of analyze: the findings; of latency: the column `part` says what a row is about',
  analysis: (analysis, { limit }) => renderTable(findingsTable(analysis, limit)),
  conversions: renderConversions,
  state: (report) => renderTable(stateTable(report)),
  latency: (sections) => renderTable(joinTables(latencyTables(sections))),
  diff: (report) => renderTable(diffTable(report)),
  rules: (listing) => renderTable(rulesTable(listing)),
  table: renderTable,
};
