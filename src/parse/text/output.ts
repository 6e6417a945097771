/** The columns that one tracepoint's rows are written to: an EventBatch with its arrays at hand by width. */
import { BATCH_ROWS, clearBatch, growBatch, makeBatch, setNull } from '../batch.js';
import type { BatchColumn, EventBatch, StringTable } from '../batch.js';
import type { ByteStrings } from '../byte-strings.js';
import type { ColumnType, EventSchema } from '../model.js';
import type { Cursor } from './cursor.js';
import type { RowPlace } from './context.js';

const WIDTHS: Readonly<Record<ColumnType, 1 | 2 | 4 | 8>> = {
  u8: 1,
  i8: 1,
  bool: 1,
  u16: 2,
  i16: 2,
  u32: 4,
  i32: 4,
  string: 4,
  u64: 8,
  i64: 8,
};

/** Writes rows of one schema. `batch.length` is the next row; columns are numbered as in the schema. */
export class Output {
  readonly batch: EventBatch;
  private readonly widths: Uint8Array;
  /** One view per column, filled by width; the other lists hold an empty array at that place. */
  private bytes: Uint8Array[] = [];
  private halves: Uint16Array[] = [];
  private words: Uint32Array[] = [];
  private columns: BatchColumn[] = [];
  private nullable = false;
  readonly schema: EventSchema;
  private readonly table: StringTable;
  private readonly strings: ByteStrings;
  /** Gets this output when its batch is as large as a batch gets. */
  private readonly full: Output[];

  constructor(schema: EventSchema, table: StringTable, strings: ByteStrings, full: Output[]) {
    this.schema = schema;
    this.table = table;
    this.strings = strings;
    this.full = full;
    this.batch = makeBatch(schema, table);
    this.widths = Uint8Array.from(schema.fields, (field) => WIDTHS[field.type]);
    this.fetchArrays();
  }

  private fetchArrays(): void {
    this.columns = this.batch.columns;
    const part = (width: number, column: BatchColumn, k: number): boolean => this.widths[k] === width && !!column;
    this.bytes = this.columns.map((column, k) =>
      part(1, column, k) ? new Uint8Array(column.data.buffer) : new Uint8Array(0),
    );
    this.halves = this.columns.map((column, k) =>
      part(2, column, k) ? new Uint16Array(column.data.buffer) : new Uint16Array(0),
    );
    this.words = this.columns.map((column, k) =>
      part(4, column, k) || part(8, column, k) ? new Uint32Array(column.data.buffer) : new Uint32Array(0),
    );
    this.nullable = this.columns.some((column) => column.valid !== null);
  }

  /** Makes room for one more row, and takes back the nulls that a failed try left in it. */
  beginRow(): void {
    if (this.batch.length === this.batch.capacity) {
      growBatch(this.batch);
      this.fetchArrays();
    }
    if (!this.nullable) return;
    const row = this.batch.length;
    for (const column of this.columns) if (column.valid !== null) column.valid[row] = 1;
  }

  clear(): void {
    clearBatch(this.batch);
  }

  setNumber(column: number, lo: number, hi: number): void {
    const row = this.batch.length;
    switch (this.widths[column]) {
      case 8: {
        const words = this.words[column]!;
        words[2 * row] = lo;
        words[2 * row + 1] = hi;
        break;
      }
      case 4:
        this.words[column]![row] = lo;
        break;
      case 2:
        this.halves[column]![row] = lo;
        break;
      default:
        this.bytes[column]![row] = lo;
    }
  }

  /** ORs bits into a number set before in the same row. */
  orNumber(column: number, lo: number, hi: number): void {
    const row = this.batch.length;
    switch (this.widths[column]) {
      case 8: {
        const words = this.words[column]!;
        words[2 * row]! |= lo;
        words[2 * row + 1]! |= hi;
        break;
      }
      case 4:
        this.words[column]![row]! |= lo;
        break;
      case 2:
        this.halves[column]![row]! |= lo;
        break;
      default:
        this.bytes[column]![row]! |= lo;
    }
  }

  setString(column: number, cursor: Cursor, from: number, to: number): void {
    this.words[column]![this.batch.length] = this.strings.idOfBytes(cursor.buf, from, to);
  }

  setText(column: number, text: string): void {
    this.words[column]![this.batch.length] = this.table.intern(text);
  }

  setNull(column: number): void {
    setNull(this.batch, this.columns[column]!, this.batch.length);
    this.nullable = true;
    // a defined value below the null keeps batches equal from run to run
    this.setNumber(column, 0, 0);
  }

  /** Adds a line to a text column of the row written last; false where there is none. */
  appendText(field: string, text: string): boolean {
    const row = this.batch.length - 1;
    const column = this.schema.fields.findIndex((spec) => spec.name === field && spec.type === 'string');
    if (row < 0 || column < 0) return false;
    const words = this.words[column]!;
    words[row] = this.table.intern(`${this.table.values[words[row]!]!}\n${text}`);
    return true;
  }

  /** Writes the common columns and closes the row. */
  endRow(context: RowPlace): void {
    const { batch } = this;
    const row = batch.length++;
    batch.tsWords[2 * row] = context.tsLo;
    batch.tsWords[2 * row + 1] = context.tsHi;
    batch.cpu[row] = context.cpu;
    batch.tid[row] = context.tid;
    batch.seqWords[2 * row] = context.line;
    batch.seqWords[2 * row + 1] = context.line / 4294967296;
    batch.flags[row] = context.flags;
    if (batch.length === BATCH_ROWS) this.full.push(this);
  }
}
