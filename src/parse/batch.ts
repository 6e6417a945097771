/**
 * EventBatch: events of one tracepoint as columns of typed arrays, filled by a reader and emptied by a sink.
 * 64-bit columns are written as two 32-bit halves (little-endian order of the machine): no BigInt per event.
 */
import type { ColumnType, EventSchema } from './model.js';

/**
 * Rows a batch holds before it is given to the sink: every busy tracepoint keeps that many in memory. Eight times as many
 * are no faster to store and take 50 MB more.
 */
export const BATCH_ROWS = 8192;

export type NumericArray =
  Uint8Array | Uint16Array | Uint32Array | Int8Array | Int16Array | Int32Array | BigUint64Array | BigInt64Array;

export interface BatchColumn {
  readonly type: ColumnType;
  /** `u64`/`i64`: a BigUint64Array/BigInt64Array; `string`: Uint32Array of ids; `bool`: Uint8Array of 0 and 1. */
  data: NumericArray;
  /** The same bytes of a 64-bit column as 32-bit words, low word first: write [2i] and [2i+1]. */
  words: Uint32Array | null;
  /** One byte a row, 1 = has a value; null = every row has one. */
  valid: Uint8Array | null;
}

/** Interns strings of one trace; id 0 is the empty string. */
export class StringTable {
  readonly values: string[] = [''];
  private readonly ids = new Map<string, number>([['', 0]]);

  /** The id of `value`, the same for equal strings. */
  intern(value: string): number {
    let id = this.ids.get(value);
    if (id === undefined) {
      id = this.values.length;
      this.values.push(value);
      this.ids.set(value, id);
    }
    return id;
  }
}

export interface EventBatch {
  readonly schema: EventSchema;
  readonly strings: StringTable;
  length: number;
  capacity: number;
  /** Stamps in ns (or raw units, see TraceMeta.clockUnit), with `tsWords` over the same bytes. */
  tsNs: BigInt64Array;
  tsWords: Uint32Array;
  cpu: Uint16Array;
  tid: Int32Array;
  /**
   * Position in the input, rising within a CPU: line number of a text; byte offset in the CPU's page stream of a
   * trace.dat; byte offset of the record in a perf.data. Kept as two words. Orders events of equal time and CPU.
   */
  seq: BigInt64Array;
  seqWords: Uint32Array;
  /** common_flags in the low byte, common_preempt_count in the high byte; 0xffff where the trace has none. */
  flags: Uint16Array;
  /** One column a field of the schema, in its order. */
  columns: BatchColumn[];
}

function allocate(type: ColumnType, rows: number): NumericArray {
  switch (type) {
    case 'u8':
    case 'bool':
      return new Uint8Array(rows);
    case 'u16':
      return new Uint16Array(rows);
    case 'u32':
    case 'string':
      return new Uint32Array(rows);
    case 'u64':
      return new BigUint64Array(rows);
    case 'i8':
      return new Int8Array(rows);
    case 'i16':
      return new Int16Array(rows);
    case 'i32':
      return new Int32Array(rows);
    case 'i64':
      return new BigInt64Array(rows);
  }
}

function makeColumn(type: ColumnType, rows: number): BatchColumn {
  const data = allocate(type, rows);
  const words = type === 'u64' || type === 'i64' ? new Uint32Array(data.buffer) : null;
  return { type, data, words, valid: null };
}

/** A new, empty batch of `rows` rows (small at first: most tracepoints of a trace are rare; see growBatch). */
export function makeBatch(schema: EventSchema, strings: StringTable, rows = 1024): EventBatch {
  const tsNs = new BigInt64Array(rows);
  const seq = new BigInt64Array(rows);
  return {
    schema,
    strings,
    length: 0,
    capacity: rows,
    tsNs,
    tsWords: new Uint32Array(tsNs.buffer),
    cpu: new Uint16Array(rows),
    tid: new Int32Array(rows),
    seq,
    seqWords: new Uint32Array(seq.buffer),
    flags: new Uint16Array(rows),
    columns: schema.fields.map((field) => makeColumn(field.type, rows)),
  };
}

/** Makes room for twice as many rows, up to BATCH_ROWS; what is in the batch stays. Arrays are new: fetch them again. */
export function growBatch(batch: EventBatch): void {
  const rows = Math.min(batch.capacity * 2, BATCH_ROWS);
  const bigger = makeBatch(batch.schema, batch.strings, rows);
  bigger.tsNs.set(batch.tsNs);
  bigger.cpu.set(batch.cpu);
  bigger.tid.set(batch.tid);
  bigger.seq.set(batch.seq);
  bigger.flags.set(batch.flags);
  bigger.columns.forEach((column, k) => {
    const old = batch.columns[k]!;
    if (column.words && old.words) column.words.set(old.words);
    else (column.data as Uint8Array).set(old.data as Uint8Array);
    if (old.valid) {
      column.valid = new Uint8Array(rows).fill(1);
      column.valid.set(old.valid);
    }
  });
  Object.assign(batch, {
    capacity: rows,
    tsNs: bigger.tsNs,
    tsWords: bigger.tsWords,
    cpu: bigger.cpu,
    tid: bigger.tid,
    seq: bigger.seq,
    seqWords: bigger.seqWords,
    flags: bigger.flags,
    columns: bigger.columns,
  });
}

/** Marks row `row` of a column as having no value; the column becomes nullable from then on. */
export function setNull(batch: EventBatch, column: BatchColumn, row: number): void {
  if (!column.valid) column.valid = new Uint8Array(batch.capacity).fill(1);
  column.valid[row] = 0;
}

/** Empties the batch for reuse. */
export function clearBatch(batch: EventBatch): void {
  batch.length = 0;
  for (const column of batch.columns) column.valid?.fill(1);
}
