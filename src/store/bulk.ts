/**
 * The door of bulk writing: whole columns (bulk-writer.ts), and rows made one by one (results of the replay), which are
 * buffered into columns.
 */
import { TraceError } from '../base/errors.js';
import { openBulkWriter, type ArrayColumn, type BulkArray, type BulkWriter } from './bulk-writer.js';
import type { Store } from './db.js';
import type { ColumnDef, TableDef } from './schema.js';

export { openBulkWriter };
export type { ArrayColumn, BulkArray, BulkColumn, BulkWriter, ConstantColumn } from './bulk-writer.js';

export type RowValue = string | number | bigint | boolean | null;

export interface RowWriter {
  /**
   * Adds a row. Columns that it leaves out are NULL. Throws TraceError('internal') where a value does not fit its
   * column; where a NOT NULL column is NULL, DuckDB refuses at the next flush.
   */
  add(row: Readonly<Record<string, RowValue>>): void;
  /** Writes what is buffered. Safe to call twice. */
  close(): void;
}

const BUFFER_ROWS = 2048;
/** What may wait in DuckDB's appender: it takes some 100 MB of rows with many texts before it writes them by itself. */
const MAX_PENDING_BYTES = 24 << 20;
/** Distinct texts a column keeps before its table starts anew. */
const MAX_STRINGS = 16_384;

interface Buffer {
  readonly name: string;
  readonly valid: Uint8Array;
  /** Stores a value, not NULL, at a row; false where it does not fit the type. */
  put(row: number, value: string | number | bigint | boolean): boolean;
  column(): ArrayColumn;
  /** Called after each flush. */
  clear(): void;
}

type NumberArray = Exclude<BulkArray, BigUint64Array | BigInt64Array>;

function numberBuffer(name: string, data: NumberArray, min: number, max: number): Buffer {
  const valid = new Uint8Array(BUFFER_ROWS);
  const isFloat = data instanceof Float64Array || data instanceof Float32Array;
  return {
    name,
    valid,
    put(row, value) {
      const number = typeof value === 'number' ? value : Number(value);
      if (!isFloat && (!Number.isInteger(number) || number < min || number > max)) return false;
      data[row] = number;
      return typeof value !== 'string';
    },
    column: () => ({ data, valid }),
    clear: () => undefined,
  };
}

/** 64-bit numbers are written as two halves: no BigInt is made for a value that comes as a number. */
function wideBuffer(name: string, data: BigInt64Array | BigUint64Array): Buffer {
  const valid = new Uint8Array(BUFFER_ROWS);
  const words = new Uint32Array(data.buffer);
  const min = data instanceof BigInt64Array ? -(2n ** 63n) : 0n;
  const max = data instanceof BigInt64Array ? 2n ** 63n - 1n : 2n ** 64n - 1n;
  return {
    name,
    valid,
    put(row, value) {
      if (typeof value === 'number') {
        if (!Number.isSafeInteger(value) || (value < 0 && min === 0n)) return false;
        words[2 * row] = value;
        words[2 * row + 1] = Math.floor(value / 0x1_0000_0000);
        return true;
      }
      if (typeof value !== 'bigint' || value < min || value > max) return false;
      data[row] = value;
      return true;
    },
    column: () => ({ data, valid }),
    clear: () => undefined,
  };
}

function textBuffer(name: string): Buffer {
  const valid = new Uint8Array(BUFFER_ROWS);
  const data = new Uint32Array(BUFFER_ROWS);
  const ids = new Map<string, number>();
  let strings: string[] = [];
  return {
    name,
    valid,
    put(row, value) {
      if (typeof value !== 'string') return false;
      let id = ids.get(value);
      if (id === undefined) {
        id = strings.push(value) - 1;
        ids.set(value, id);
      }
      data[row] = id;
      return true;
    },
    column: () => ({ data, valid, strings }),
    clear() {
      if (strings.length < MAX_STRINGS) return;
      strings = [];
      ids.clear();
    },
  };
}

function makeBuffer(column: ColumnDef): Buffer {
  const { name } = column;
  const type = column.type.split(' ', 1)[0]!;
  switch (type) {
    case 'BOOLEAN':
      return numberBuffer(name, new Uint8Array(BUFFER_ROWS), 0, 1);
    case 'UTINYINT':
      return numberBuffer(name, new Uint8Array(BUFFER_ROWS), 0, 0xff);
    case 'USMALLINT':
      return numberBuffer(name, new Uint16Array(BUFFER_ROWS), 0, 0xffff);
    case 'UINTEGER':
      return numberBuffer(name, new Uint32Array(BUFFER_ROWS), 0, 0xffff_ffff);
    case 'TINYINT':
      return numberBuffer(name, new Int8Array(BUFFER_ROWS), -0x80, 0x7f);
    case 'SMALLINT':
      return numberBuffer(name, new Int16Array(BUFFER_ROWS), -0x8000, 0x7fff);
    case 'INTEGER':
      return numberBuffer(name, new Int32Array(BUFFER_ROWS), -0x8000_0000, 0x7fff_ffff);
    case 'DOUBLE':
      return numberBuffer(name, new Float64Array(BUFFER_ROWS), -Infinity, Infinity);
    case 'BIGINT':
      return wideBuffer(name, new BigInt64Array(BUFFER_ROWS));
    case 'UBIGINT':
      return wideBuffer(name, new BigUint64Array(BUFFER_ROWS));
    case 'VARCHAR':
      return textBuffer(name);
    default:
      throw new TraceError('internal', `column ${name}: rows cannot be written to a ${column.type}`);
  }
}

/** A writer of rows into the table that `table` defines, which exists already. */
export function openRowWriter(store: Store, table: TableDef): RowWriter {
  const writer: BulkWriter = openBulkWriter(store, table.name);
  const buffers = table.columns.map(makeBuffer);
  const names = new Set(table.columns.map((column) => column.name));
  let rows = 0;
  let isFirst = true;

  const flush = (): void => {
    if (rows === 0) return;
    const columns = buffers.map((buffer) => buffer.column());
    writer.append(columns, rows);
    for (const buffer of buffers) buffer.clear();
    rows = 0;
    if (writer.pendingBytes > MAX_PENDING_BYTES) writer.flush();
  };

  return {
    add(row) {
      if (isFirst) {
        isFirst = false;
        // Only the first: rows of one writer are made at one place, and a look at every key would cost as much as the row.
        const stranger = Object.keys(row).find((key) => !names.has(key));
        if (stranger !== undefined) throw new TraceError('internal', `table ${table.name} has no column ${stranger}`);
      }
      for (let k = 0; k < buffers.length; k++) {
        const buffer = buffers[k]!;
        const value = row[buffer.name];
        if (value === undefined || value === null) {
          buffer.valid[rows] = 0;
          continue;
        }
        buffer.valid[rows] = 1;
        if (!buffer.put(rows, value)) {
          throw new TraceError('internal', `table ${table.name}: column ${buffer.name} cannot hold ${String(value)}`);
        }
      }
      if (++rows === BUFFER_ROWS) flush();
    },
    close() {
      flush();
      writer.close();
    },
  };
}
