import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import type { ReadOptions, ReadSummary } from '../../../src/parse/model.js';
import { memorySource, openSource } from '../../../src/parse/source.js';
import type { Source } from '../../../src/parse/source.js';
import { tracedatFormat } from '../../../src/parse/tracedat/index.js';
import { decompressZstdParts, initZstd } from '../../../src/parse/zstd.js';

/** The collected recordings; tests that need them are skipped where they are not there. */
const CAPTURES = new URL('../../../../shared/captures/', import.meta.url);

export const hasCaptures = existsSync(CAPTURES);

export function capturePath(name: string): string {
  return fileURLToPath(new URL(name, CAPTURES));
}

/** Text of a `.gz` or `.zst` file of the captures. */
export async function captureText(name: string): Promise<string> {
  const bytes = readFileSync(capturePath(name));
  if (name.endsWith('.gz')) return gunzipSync(bytes).toString('utf8');
  await initZstd();
  return Buffer.concat([...decompressZstdParts([bytes])].map((part) => Buffer.from(part))).toString('utf8');
}

export interface Row {
  readonly event: string;
  readonly tsNs: bigint;
  readonly cpu: number;
  readonly tid: number;
  readonly seq: bigint;
  readonly flags: number;
  /** By column name, in column order; null = no value. */
  readonly fields: ReadonlyMap<string, string | bigint | null>;
}

export interface Decoded {
  readonly summary: ReadSummary;
  /** In order of time, then CPU, then seq. */
  readonly rows: readonly Row[];
}

/** Reads a trace.dat wholly into plain rows. */
export async function decode(source: Source, options?: ReadOptions): Promise<Decoded> {
  const rows: Row[] = [];
  const summary = await tracedatFormat.open(source).read((batch) => {
    for (let row = 0; row < batch.length; row++) {
      const fields = new Map<string, string | bigint | null>();
      batch.columns.forEach((column, k) => {
        const raw = column.data[row]!;
        const value = column.type === 'string' ? batch.strings.values[Number(raw)]! : BigInt(raw);
        fields.set(batch.schema.fields[k]!.name, column.valid && column.valid[row] === 0 ? null : value);
      });
      rows.push({
        event: `${batch.schema.system}:${batch.schema.name}`,
        tsNs: batch.tsNs[row]!,
        cpu: batch.cpu[row]!,
        tid: batch.tid[row]!,
        seq: batch.seq[row]!,
        flags: batch.flags[row]!,
        fields,
      });
    }
  }, options);
  rows.sort((a, b) => compare(a.tsNs, b.tsNs) || a.cpu - b.cpu || compare(a.seq, b.seq));
  return { summary, rows };
}

function compare(a: bigint, b: bigint): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** A capture by its name below the captures folder. */
export async function decodeCapture(name: string, options?: ReadOptions): Promise<Decoded> {
  const source = await openSource(capturePath(name));
  try {
    return await decode(source, options);
  } finally {
    source.close();
  }
}

export async function decodeBytes(bytes: Uint8Array): Promise<Decoded> {
  return decode(memorySource('test.dat', bytes));
}
