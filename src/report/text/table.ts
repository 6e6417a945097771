import { UNKNOWN_CELL, type Table } from '../table.js';
import { plural } from '../names.js';
import { drawTable } from './layout.js';

/** Rows of a query. Empty cells (NULL) are dashes. */
export function* renderTable(table: Table): Generator<string> {
  if (table.columns.length === 0) return;
  const rows = table.rows.map((row) => row.map((value) => (value === null ? UNKNOWN_CELL : String(value))));
  const aligns = table.columns.map((column) => column.align);
  yield `${drawTable(rows, { head: table.columns.map((c) => c.name), aligns, indent: 0 })}\n`;
  yield `(${plural(table.rows.length, 'row')})\n`;
}
