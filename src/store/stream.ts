/**
 * Reading large results as typed arrays, a chunk of up to 2048 rows at a time, in bounded memory and without an object
 * per row: `stream` + `fetchChunk` + `vector_get_data`.
 */
import type { DataChunk, Result } from '@duckdb/node-bindings';
import { TraceError } from '../base/errors.js';
import { toTraceError, type Store } from './db.js';
import { loadBindings, viewsByType, type NumberArray, type NumberView } from './native.js';

export interface ColumnChunk {
  readonly rows: number;
  /** One array a column, `rows` long, of the class of its DuckDB type. Fresh memory: the caller may keep it. */
  readonly columns: readonly NumberArray[];
}

function resultReaders(result: Result): NumberView[] {
  const bindings = loadBindings();
  const known = viewsByType();
  return Array.from({ length: bindings.column_count(result) }, (_, k) => {
    const reader = known.get(bindings.column_type(result, k));
    if (reader) return reader;
    const name = bindings.column_name(result, k);
    throw new TraceError('internal', `column ${name} of a stream has no fixed width: cast it in the query`);
  });
}

function readChunk(chunk: DataChunk, readers: readonly NumberView[], rows: number): ColumnChunk {
  const bindings = loadBindings();
  const columns: NumberArray[] = [];
  for (let k = 0; k < readers.length; k++) {
    const reader = readers[k]!;
    const bytes = bindings.vector_get_data(bindings.data_chunk_get_vector(chunk, k), rows * reader.bytes);
    columns.push(reader.view(bytes.buffer, bytes.byteOffset, rows));
  }
  return { rows, columns };
}

/**
 * Runs one query and yields its rows as columns, in the query's order. Numbers and BOOLEAN only. What a NULL row holds
 * is not defined: COALESCE in the query.
 *
 * It reads on a connection of its own, so that the store may write and query meanwhile; it therefore sees committed
 * rows only, and no temporary tables. The next chunk is fetched while the caller works on this one.
 */
export async function* streamColumns(store: Store, sql: string): AsyncGenerator<ColumnChunk, void, void> {
  const bindings = loadBindings();
  const connection = await bindings.connect(store.native.database);
  let next: Promise<DataChunk | null> | null = null;
  try {
    if (store.native.searchPath !== null) await bindings.query(connection, store.native.searchPath);
    const { extracted_statements: statements, statement_count: count } = await bindings.extract_statements(
      connection,
      sql,
    );
    if (count === 0) throw new TraceError('usage', bindings.extract_statements_error(statements));
    if (count > 1) throw new TraceError('usage', `expected one query, found ${count} statements`);
    const prepared = await bindings.prepare_extracted_statement(connection, statements, 0);
    const result = await bindings.execute_prepared_streaming(prepared);
    const readers = resultReaders(result);
    next = bindings.fetch_chunk(result);
    for (;;) {
      const chunk: DataChunk | null = await next;
      const rows = chunk === null ? 0 : bindings.data_chunk_get_size(chunk);
      if (chunk === null || rows === 0) return;
      next = bindings.fetch_chunk(result);
      yield readChunk(chunk, readers, rows);
    }
  } catch (error) {
    throw toTraceError(error);
  } finally {
    // A caller that stops early leaves a fetch under way: the connection must outlive it.
    if (next !== null) {
      bindings.interrupt(connection);
      await next.catch(() => null);
    }
    bindings.disconnect_sync(connection);
  }
}
