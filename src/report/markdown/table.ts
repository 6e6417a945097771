import { UNKNOWN_CELL, type CellValue, type Table } from '../table.js';

/** A text that Markdown shows as it is. An underscore within a word is no mark-up there. */
export function escapeMarkdown(text: string): string {
  return text.replace(/[\\`*{}[\]<>|]|(?<!\w)_|_(?!\w)/g, '\\$&').replace(/\r?\n/g, ' ');
}

/** A text within HTML tags. */
export function escapeHtml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
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
