import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { EventBatch } from '../../../src/parse/batch.js';
import type { ReadOptions, ReadSummary } from '../../../src/parse/model.js';
import { perfdataFormat } from '../../../src/parse/perfdata/index.js';
import { openSource } from '../../../src/parse/source.js';
import type { Source } from '../../../src/parse/source.js';

/** Real recordings beside the repository; tests of them are left out where they are not there. */
export const CAPTURES = fileURLToPath(new URL('../../../../shared/captures/', import.meta.url));
export const hasCaptures = existsSync(CAPTURES);

export interface Row {
  readonly event: string;
  readonly tsNs: bigint;
  readonly cpu: number;
  readonly tid: number;
  readonly seq: bigint;
  readonly flags: number;
  readonly fields: Readonly<Record<string, number | bigint | string | null>>;
}

/** The rows of a batch as objects. */
export function rowsOf(batch: EventBatch): Row[] {
  return Array.from({ length: batch.length }, (_, row) => ({
    event: `${batch.schema.system}:${batch.schema.name}`,
    tsNs: batch.tsNs[row]!,
    cpu: batch.cpu[row]!,
    tid: batch.tid[row]!,
    seq: batch.seq[row]!,
    flags: batch.flags[row]!,
    fields: Object.fromEntries(
      batch.schema.fields.map((field, k) => {
        const column = batch.columns[k]!;
        const value = column.data[row]!;
        if (column.valid?.[row] === 0) return [field.name, null];
        return [field.name, column.type === 'string' ? batch.strings.values[Number(value)]! : value];
      }),
    ),
  }));
}

export interface Recording {
  readonly summary: ReadSummary;
  /** In order of time, CPU and position. */
  readonly rows: readonly Row[];
}

export async function readSource(source: Source, options?: ReadOptions): Promise<Recording> {
  const rows: Row[] = [];
  const summary = await perfdataFormat.open(source).read((batch) => {
    rows.push(...rowsOf(batch));
  }, options);
  source.close();
  rows.sort((a, b) => Number(a.tsNs - b.tsNs) || a.cpu - b.cpu || Number(a.seq - b.seq));
  return { summary, rows };
}

export async function readCapture(name: string, options?: ReadOptions): Promise<Recording> {
  return readSource(await openSource(CAPTURES + name), options);
}

export function countByEvent(rows: readonly Row[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { event } of rows) counts[event] = (counts[event] ?? 0) + 1;
  return counts;
}
