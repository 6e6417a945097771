/** Reads texts for the tests: detection as the program does it, rows as plain values. */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { memorySource, openSource } from '../../../src/parse/source.js';
import type { Source } from '../../../src/parse/source.js';
import type { EventSchema, Format, ReadOptions, ReadSummary } from '../../../src/parse/model.js';
import { TEXT_FORMATS } from '../../../src/parse/text/index.js';

export const CAPTURES = new URL('../../../../shared/captures/', import.meta.url);
export const hasCaptures = existsSync(CAPTURES);

export type Value = bigint | number | string | null;

export interface Row {
  readonly event: string;
  readonly tsNs: bigint;
  readonly cpu: number;
  readonly tid: number;
  readonly seq: bigint;
  readonly flags: number;
  readonly values: Readonly<Record<string, Value>>;
}

export interface TextResult {
  readonly format: string;
  readonly summary: ReadSummary;
  readonly rows: readonly Row[];
  readonly schemas: ReadonlyMap<string, EventSchema>;
}

/** The format that claims the head, `yes` before `maybe`. */
export function detectText(head: Uint8Array): Format | null {
  const verdicts = TEXT_FORMATS.map((format) => ({ format, verdict: format.detect(head) }));
  const find = (verdict: string) => verdicts.find((entry) => entry.verdict === verdict)?.format;
  return find('yes') ?? find('maybe') ?? null;
}

async function readSource(source: Source, options: ReadOptions): Promise<TextResult> {
  const format = detectText(source.readAt(0, 65536).slice());
  if (!format) throw new Error(`no format claims ${source.path}`);
  const rows: Row[] = [];
  const schemas = new Map<string, EventSchema>();
  const summary = await format.open(source).read((batch) => {
    const event = `${batch.schema.system}:${batch.schema.name}`;
    schemas.set(event, batch.schema);
    for (let row = 0; row < batch.length; row++) {
      const values: Record<string, Value> = {};
      batch.schema.fields.forEach((field, k) => {
        const column = batch.columns[k]!;
        const value = column.data[row]!;
        const isNull = column.valid !== null && column.valid[row] === 0;
        values[field.name] = isNull ? null : field.type === 'string' ? batch.strings.values[Number(value)]! : value;
      });
      rows.push({
        event,
        tsNs: batch.tsNs[row]!,
        cpu: batch.cpu[row]!,
        tid: batch.tid[row]!,
        seq: batch.seq[row]!,
        flags: batch.flags[row]!,
        values,
      });
    }
  }, options);
  source.close();
  rows.sort((a, b) => Number(a.seq - b.seq));
  return { format: format.name, summary, rows, schemas };
}

export function readText(text: string | Uint8Array, options: ReadOptions = {}): Promise<TextResult> {
  return readSource(memorySource('trace.txt', typeof text === 'string' ? Buffer.from(text) : text), options);
}

/** @param path below the captures' folder */
export async function readCapture(path: string, options: ReadOptions = {}): Promise<TextResult> {
  return readSource(await openSource(fileURLToPath(new URL(path, CAPTURES))), options);
}

/** Rows by event name. */
export function countEvents(rows: readonly Row[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { event } of rows) {
    const name = event.replace(/^.*:/, '');
    counts[name] = (counts[name] ?? 0) + 1;
  }
  return counts;
}

/** An event line of ftrace with the given text. */
export function traceLine(text: string, time = '16.191473'): string {
  return `       CPU 0/KVM-99      (     97) [000] d..1. ${time.padStart(12)}: ${text}\n`;
}

/** The same as trace-cmd report prints it. */
export function reportLine(name: string, text: string): string {
  return `       CPU 0/KVM-99    [000] d..1.    16.191473: ${`${name}:`.padEnd(21)} ${text}\n`;
}
