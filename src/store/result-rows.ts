/**
 * Rows of a query's result as plain values. The types that tables and reports are made of are read here; any other goes
 * through DuckDB's friendly API, whose loading takes 50 ms of CPU: more than the analysis of a small trace has to spare.
 */
import type { LogicalType, Result, Type, Vector } from '@duckdb/node-bindings';
import type { DuckDBValue } from '@duckdb/node-api';
import { loadApi, loadBindings, viewsByType, type NumberView } from './native.js';

/** A value as a query gives it: 64-bit integers are bigint, narrower ones number; times and the like are text. */
export type Value = string | number | bigint | boolean | null | readonly Value[] | { readonly [key: string]: Value };

export type Row = Readonly<Record<string, Value>>;

/** The value at an index of a vector that has been read. */
type Values = (index: number) => Value;

/** How a type's vectors are read. */
type Reader = (vector: Vector, rows: number) => Values;

const utf8 = new TextDecoder();

/** `view` over a copy of the vector's data; `width` is that of an element, bytes. */
function viewOf<T>(
  vector: Vector,
  rows: number,
  width: number,
  view: (buffer: ArrayBufferLike, at: number, rows: number) => T,
): T {
  // An empty vector has no data to point at.
  const { buffer, byteOffset } = rows === 0 ? new Uint8Array() : loadBindings().vector_get_data(vector, rows * width);
  return view(buffer, byteOffset, rows);
}

function numbers({ bytes, view }: NumberView): Reader {
  return (vector, rows) => {
    const values = viewOf(vector, rows, bytes, view);
    return (index) => values[index]!;
  };
}

const booleans: Reader = (vector, rows) => {
  const values = viewOf(vector, rows, 1, (b, at, n) => new Uint8Array(b, at, n));
  return (index) => values[index] !== 0;
};

/** Low half first. */
const hugeInts: Reader = (vector, rows) => {
  const halves = viewOf(vector, rows, 16, (b, at, n) => new BigUint64Array(b, at, 2 * n));
  return (index) => (BigInt.asIntN(64, halves[2 * index + 1]!) << 64n) | halves[2 * index]!;
};

/** Words of 16 bytes (string-words.ts tells their layout). */
const texts: Reader = (vector, rows) => {
  const words = viewOf(vector, rows, 16, (b, at, n) => new DataView(b, at, 16 * n));
  return (index) => {
    const at = 16 * index;
    const length = words.getUint32(at, true);
    const bytes =
      length <= 12
        ? new Uint8Array(words.buffer, words.byteOffset + at + 4, length)
        : loadBindings().get_data_from_pointer(words.buffer as ArrayBuffer, words.byteOffset + at + 8, length);
    return utf8.decode(bytes);
  };
};

/** Each list is an offset into the elements of all and a length. */
function lists(elementsOf: Reader): Reader {
  return (vector, rows) => {
    const bindings = loadBindings();
    const places = viewOf(vector, rows, 16, (b, at, n) => new BigUint64Array(b, at, 2 * n));
    const elements = elementsOf(bindings.list_vector_get_child(vector), bindings.list_vector_get_size(vector));
    return (index) => {
      const first = Number(places[2 * index]);
      return Array.from({ length: Number(places[2 * index + 1]) }, (_, k) => elements(first + k));
    };
  };
}

function structs(fields: readonly { readonly name: string; readonly read: Reader }[]): Reader {
  return (vector, rows) => {
    const columns = fields.map(({ name, read }, k) => ({
      name,
      values: read(loadBindings().struct_vector_get_child(vector, k), rows),
    }));
    return (index) => Object.fromEntries(columns.map(({ name, values }) => [name, values(index)]));
  };
}

/** Puts NULL where the vector's validity mask has no bit. */
function nullable(read: Reader): Reader {
  return (vector, rows) => {
    const values = read(vector, rows);
    // The binding gives null, against its type, where no row is NULL.
    const mask: Uint8Array | null = loadBindings().vector_get_validity(vector, Math.ceil(rows / 64) * 8);
    return mask === null ? values : (index) => ((mask[index >> 3]! >> (index & 7)) & 1 ? values(index) : null);
  };
}

function flatReader(type: Type): Reader | null {
  const { Type } = loadBindings();
  if (type === Type.BOOLEAN) return booleans;
  if (type === Type.HUGEINT) return hugeInts;
  if (type === Type.VARCHAR) return texts;
  const view = viewsByType().get(type);
  return view ? numbers(view) : null;
}

/** Reader of a type, null where it is none of those above, or has one of its parts. */
function readerOf(type: LogicalType): Reader | null {
  const bindings = loadBindings();
  const id = bindings.get_type_id(type);
  if (id === bindings.Type.LIST) {
    const elements = readerOf(bindings.list_type_child_type(type));
    return elements && nullable(lists(elements));
  }
  if (id === bindings.Type.STRUCT) {
    const fields = Array.from({ length: bindings.struct_type_child_count(type) }, (_, k) => ({
      name: bindings.struct_type_child_name(type, k),
      read: readerOf(bindings.struct_type_child_type(type, k)),
    }));
    const known = fields.flatMap(({ name, read }) => (read === null ? [] : [{ name, read }]));
    return known.length === fields.length ? nullable(structs(known)) : null;
  }
  const flat = flatReader(id);
  return flat && nullable(flat);
}

/** Names of the columns, each once: a second `n` is `n:1`. */
function columnNames(result: Result): string[] {
  const bindings = loadBindings();
  const seen = new Map<string, number>();
  return Array.from({ length: bindings.column_count(result) }, (_, k) => {
    const name = bindings.column_name(result, k);
    const count = seen.get(name) ?? 0;
    seen.set(name, count + 1);
    return count === 0 ? name : `${name}:${count}`;
  });
}

/** All rows of a result. */
export async function readRows(result: Result): Promise<Row[]> {
  const bindings = loadBindings();
  const names = columnNames(result);
  const readers = names.map((_, k) => readerOf(bindings.column_logical_type(result, k)));
  const known = readers.filter((reader) => reader !== null);
  if (known.length < names.length) return readByApi(result, names);
  const rows: Row[] = [];
  for (;;) {
    const chunk = await bindings.fetch_chunk(result);
    const count = chunk === null ? 0 : bindings.data_chunk_get_size(chunk);
    if (chunk === null || count === 0) return rows;
    const columns = known.map((read, k) => read(bindings.data_chunk_get_vector(chunk, k), count));
    for (let index = 0; index < count; index++) {
      const row: Record<string, Value> = {};
      for (let k = 0; k < names.length; k++) row[names[k]!] = columns[k]!(index);
      rows.push(row);
    }
  }
}

async function readByApi(result: Result, names: readonly string[]): Promise<Row[]> {
  const values = await new (loadApi().DuckDBResult)(result).getRows();
  return values.map((row) => Object.fromEntries(row.map((value, k) => [names[k]!, toPlain(value)])));
}

function toPlain(value: DuckDBValue): Value {
  if (value === null || typeof value !== 'object') return value ?? null;
  const api = loadApi();
  if (value instanceof api.DuckDBListValue || value instanceof api.DuckDBArrayValue) return value.items.map(toPlain);
  if (value instanceof api.DuckDBStructValue) {
    return Object.fromEntries(Object.entries(value.entries).map(([key, entry]) => [key, toPlain(entry)]));
  }
  if (value instanceof api.DuckDBMapValue) {
    return value.entries.map((entry) => ({ key: toPlain(entry.key), value: toPlain(entry.value) }));
  }
  if (value instanceof api.DuckDBDecimalValue) return value.toDouble();
  // Every other value class (timestamps, intervals, blobs, …) prints itself as DuckDB's shell does.
  return String(value);
}
