/** A plain table that the text, Markdown, CSV and JSON outputs all write in their own way. */
export type CellValue = string | number | bigint | boolean | null;

export interface TableColumn {
  readonly name: string;
  readonly align: 'left' | 'right';
}

export interface Table {
  readonly columns: readonly TableColumn[];
  readonly rows: readonly (readonly CellValue[])[];
}

/** What an empty cell (not known) looks like to people. */
export const UNKNOWN_CELL = '—';
