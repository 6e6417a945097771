import { UNKNOWN_CELL, type CellValue, type Table } from '../table.js';

/** A text that Markdown shows as it is. */
export function escapeMarkdown(text: string): string {
  return text.replace(/[\\`*_{}[\]<>|]/g, '\\$&').replace(/\r?\n/g, ' ');
}

const cell = (value: CellValue): string => (value === null ? UNKNOWN_CELL : escapeMarkdown(String(value)));

/** A table in GitHub's Markdown. */
export function drawTable(table: Table): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |\n`;
  return [
    line(table.columns.map((c) => escapeMarkdown(c.name))),
    line(table.columns.map((c) => (c.align === 'right' ? '---:' : '---'))),
    ...table.rows.map((row) => line(row.map(cell))),
  ].join('');
}
