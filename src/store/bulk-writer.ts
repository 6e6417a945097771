/**
 * Bulk writing: typed arrays are copied into DuckDB's vectors by one call a column and 2048 rows, the fastest way there
 * is from Node (7 M rows/s of 8 columns). The copy is an unchecked memcpy: every type and length is checked here before.
 * `vector_get_data` gives a copy, so writing into what it returns would load zeros: never do.
 */
import type { Appender, DataChunk, Type, Vector } from '@duckdb/node-bindings';
import { TraceError } from '../base/errors.js';
import { toTraceError, type Store } from './db.js';
import { loadBindings } from './native.js';
import { STRING_WORDS, StringWords } from './string-words.js';

/** Rows of a DuckDB vector. */
const CHUNK_ROWS = 2048;

export type BulkArray =
  | Uint8Array
  | Uint16Array
  | Uint32Array
  | BigUint64Array
  | Int8Array
  | Int16Array
  | Int32Array
  | BigInt64Array
  | Float32Array
  | Float64Array;

/**
 * A column of rows. The array's class must be the one of the table's type: BIGINT BigInt64Array, BOOLEAN Uint8Array (0
 * and 1), …; HUGEINT a BigInt64Array of two elements a row, low half first.
 */
export interface ArrayColumn {
  readonly data: BulkArray;
  /** One byte a row, 0 = NULL; null: no row is NULL. */
  readonly valid: Uint8Array | null;
  /** For a VARCHAR column, whose `data` then is a Uint32Array of indexes into this. Known by identity, may grow. */
  readonly strings?: readonly string[];
}

/** A column with one value in every row. */
export interface ConstantColumn {
  readonly constant: number | bigint | string | boolean | null;
}

export type BulkColumn = ArrayColumn | ConstantColumn;

interface Kind {
  readonly name: string;
  readonly bytes: number;
  readonly make: (rows: number) => BulkArray;
}

function kindsByType(): ReadonlyMap<Type, Kind> {
  const { Type } = loadBindings();
  return new Map<Type, Kind>([
    [Type.BOOLEAN, { name: 'BOOLEAN', bytes: 1, make: (n) => new Uint8Array(n) }],
    [Type.UTINYINT, { name: 'UTINYINT', bytes: 1, make: (n) => new Uint8Array(n) }],
    [Type.USMALLINT, { name: 'USMALLINT', bytes: 2, make: (n) => new Uint16Array(n) }],
    [Type.UINTEGER, { name: 'UINTEGER', bytes: 4, make: (n) => new Uint32Array(n) }],
    [Type.UBIGINT, { name: 'UBIGINT', bytes: 8, make: (n) => new BigUint64Array(n) }],
    [Type.TINYINT, { name: 'TINYINT', bytes: 1, make: (n) => new Int8Array(n) }],
    [Type.SMALLINT, { name: 'SMALLINT', bytes: 2, make: (n) => new Int16Array(n) }],
    [Type.INTEGER, { name: 'INTEGER', bytes: 4, make: (n) => new Int32Array(n) }],
    [Type.BIGINT, { name: 'BIGINT', bytes: 8, make: (n) => new BigInt64Array(n) }],
    [Type.HUGEINT, { name: 'HUGEINT', bytes: 16, make: (n) => new BigInt64Array(2 * n) }],
    [Type.FLOAT, { name: 'FLOAT', bytes: 4, make: (n) => new Float32Array(n) }],
    [Type.DOUBLE, { name: 'DOUBLE', bytes: 8, make: (n) => new Float64Array(n) }],
    [Type.VARCHAR, { name: 'VARCHAR', bytes: 16, make: (n) => new Uint32Array(n) }],
  ]);
}

/** JavaScript type of a constant where it is not number. HUGEINT is here because it has no constants but NULL. */
const CONSTANT_TYPES: Readonly<Record<string, string>> = {
  VARCHAR: 'string',
  BIGINT: 'bigint',
  UBIGINT: 'bigint',
  HUGEINT: 'none',
};

interface Target {
  readonly kind: Kind;
  readonly arrayName: string;
  readonly vector: Vector;
  /** Whether the vector's validity mask says NULL somewhere from an earlier chunk. */
  hasNulls: boolean;
}

function isConstant(column: BulkColumn): column is ConstantColumn {
  return 'constant' in column;
}

/** Writes batches of columns into one table. Close it, or discard it when the load fails. */
export class BulkWriter {
  private readonly bindings = loadBindings();
  private readonly appender: Appender;
  private readonly chunk: DataChunk;
  private readonly targets: Target[] = [];
  private readonly mask = new Uint8Array(CHUNK_ROWS / 8);
  private readonly words = new Uint32Array(CHUNK_ROWS * STRING_WORDS);
  /** Per column its strings' words, held here so that what the chunk points to lives until it is appended. */
  private readonly inUse: (StringWords | null)[] = [];
  private rowBytes = 0;
  private isOpen = true;
  /** At most what the appender holds in memory: it flushes by itself every 204800 rows, which this does not see. */
  pendingBytes = 0;

  private readonly store: Store;
  private readonly table: string;

  constructor(store: Store, table: string) {
    this.store = store;
    this.table = table;
    const { bindings } = this;
    try {
      this.appender = bindings.appender_create(store.native.connection, null, table);
    } catch (error) {
      throw toTraceError(error);
    }
    const kinds = kindsByType();
    const count = bindings.appender_column_count(this.appender);
    const types = Array.from({ length: count }, (_, k) => bindings.appender_column_type(this.appender, k));
    this.chunk = bindings.create_data_chunk(types);
    types.forEach((type, k) => {
      const kind = kinds.get(bindings.get_type_id(type));
      if (!kind) throw this.error(`column ${k} has a type that cannot be written in bulk`);
      const arrayName = kind.make(0).constructor.name;
      this.rowBytes += kind.bytes;
      this.targets.push({ kind, arrayName, vector: bindings.data_chunk_get_vector(this.chunk, k), hasNulls: false });
    });
  }

  /**
   * Appends the first `rows` rows of the columns, given in the table's order. The arrays are free again on return.
   * Throws TraceError: `internal` where a column does not fit the table, `db` where DuckDB refuses.
   */
  append(columns: readonly BulkColumn[], rows: number): void {
    this.check(columns, rows);
    for (let k = 0; k < columns.length; k++) {
      const column = columns[k]!;
      if (isConstant(column)) this.writeConstant(this.targets[k]!, column.constant, Math.min(rows, CHUNK_ROWS));
      this.inUse[k] = !isConstant(column) && column.strings ? this.stringWords(column.strings) : null;
    }
    try {
      for (let at = 0; at < rows; at += CHUNK_ROWS) this.appendChunk(columns, at, Math.min(CHUNK_ROWS, rows - at));
      this.pendingBytes += rows * this.rowBytes;
    } catch (error) {
      throw toTraceError(error);
    }
  }

  /** Moves what the appender holds to the table. */
  flush(): void {
    try {
      this.bindings.appender_flush_sync(this.appender);
      this.pendingBytes = 0;
    } catch (error) {
      throw toTraceError(error);
    }
  }

  /** Writes what is pending and ends the writer. Safe to call twice. */
  close(): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    try {
      this.bindings.appender_close_sync(this.appender);
    } catch (error) {
      throw toTraceError(error);
    }
  }

  /** Drops what is pending; what was flushed before goes with the transaction's ROLLBACK. */
  discard(): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    try {
      this.bindings.appender_clear(this.appender);
      this.bindings.appender_close_sync(this.appender);
    } catch {
      // An appender that has failed cannot be closed; its rows are gone all the same.
    }
  }

  private appendChunk(columns: readonly BulkColumn[], at: number, rows: number): void {
    const { bindings } = this;
    for (let k = 0; k < this.inUse.length; k++) this.inUse[k]?.trim();
    bindings.data_chunk_set_size(this.chunk, rows);
    for (let k = 0; k < columns.length; k++) {
      const column = columns[k]!;
      if (isConstant(column)) continue;
      const target = this.targets[k]!;
      const { data } = column;
      if (column.strings) {
        this.inUse[k]!.fill(data as Uint32Array, at, rows, this.words);
        bindings.copy_data_to_vector(target.vector, 0, this.words.buffer, 0, rows * STRING_WORDS * 4);
      } else {
        const width = target.kind.bytes;
        const from = data.byteOffset + at * width;
        bindings.copy_data_to_vector(target.vector, 0, data.buffer as ArrayBuffer, from, rows * width);
      }
      if (column.valid) this.writeValidity(target, column.valid, at, rows);
      else if (target.hasNulls) this.writeMask(target, 0xff);
    }
    bindings.append_data_chunk(this.appender, this.chunk);
  }

  private stringWords(strings: readonly string[]): StringWords {
    const { stringWords } = this.store.native;
    let words = stringWords.get(strings);
    if (!words) stringWords.set(strings, (words = new StringWords(strings)));
    return words;
  }

  private writeValidity(target: Target, valid: Uint8Array, at: number, rows: number): void {
    const { mask } = this;
    let nulls = 0;
    mask.fill(0);
    for (let i = 0; i < rows; i++) {
      if (valid[at + i] === 0) nulls++;
      else mask[i >> 3]! |= 1 << (i & 7);
    }
    if (nulls === 0 && !target.hasNulls) return;
    this.bindings.vector_ensure_validity_writable(target.vector);
    this.bindings.copy_data_to_vector_validity(target.vector, 0, mask.buffer, 0, mask.byteLength);
    target.hasNulls = nulls > 0;
  }

  private writeMask(target: Target, byte: number): void {
    this.mask.fill(byte);
    this.bindings.vector_ensure_validity_writable(target.vector);
    this.bindings.copy_data_to_vector_validity(target.vector, 0, this.mask.buffer, 0, this.mask.byteLength);
    target.hasNulls = byte !== 0xff;
  }

  /** Fills the vector once: its data stays over all chunks of the append. */
  private writeConstant(target: Target, constant: ConstantColumn['constant'], rows: number): void {
    if (constant === null) return this.writeMask(target, 0);
    if (target.hasNulls) this.writeMask(target, 0xff);
    const { bindings } = this;
    if (typeof constant === 'string') {
      for (let i = 0; i < rows; i++) bindings.vector_assign_string_element(target.vector, i, constant);
      return;
    }
    const data = target.kind.make(rows);
    if (typeof constant === 'bigint') (data as BigInt64Array).fill(constant);
    else (data as Int32Array).fill(Number(constant));
    bindings.copy_data_to_vector(target.vector, 0, data.buffer as ArrayBuffer, 0, rows * target.kind.bytes);
  }

  private check(columns: readonly BulkColumn[], rows: number): void {
    if (!this.isOpen) throw this.error('the writer is closed');
    if (!Number.isInteger(rows) || rows < 0) throw this.error(`${rows} rows`);
    if (columns.length !== this.targets.length) {
      throw this.error(`${columns.length} columns given, the table has ${this.targets.length}`);
    }
    columns.forEach((column, k) => this.checkColumn(column, k, rows));
  }

  private checkColumn(column: BulkColumn, k: number, rows: number): void {
    const { kind, arrayName } = this.targets[k]!;
    if (isConstant(column)) {
      const wanted = CONSTANT_TYPES[kind.name] ?? 'number';
      const type = typeof column.constant === 'boolean' && kind.name === 'BOOLEAN' ? wanted : typeof column.constant;
      if (column.constant === null || type === wanted) return;
      throw this.error(`column ${k}: ${kind.name} cannot hold a ${type}`);
    }
    const { data, valid, strings } = column;
    if ((kind.name === 'VARCHAR') !== (strings !== undefined) || data.constructor.name !== arrayName) {
      throw this.error(`column ${k}: ${kind.name} cannot be filled from a ${data.constructor.name}`);
    }
    const values = kind.name === 'HUGEINT' ? data.length / 2 : data.length;
    if (values < rows || (valid !== null && valid.length < rows)) {
      throw this.error(`column ${k}: ${Math.min(values, valid?.length ?? rows)} values for ${rows} rows`);
    }
  }

  private error(what: string): TraceError {
    return new TraceError('internal', `table ${this.table}: ${what}`);
  }
}

/** A writer into an existing table. It writes in the transaction that is open on the store, if any. */
export function openBulkWriter(store: Store, table: string): BulkWriter {
  return new BulkWriter(store, table);
}
