/**
 * Loads DuckDB when it is first needed: 0.1 s that `--help` must not pay. `createRequire` and not `import`, because
 * Node scans the package's many re-exports for an ESM import, which costs three times as much CPU.
 */
import { createRequire } from 'node:module';
import type * as NodeApi from '@duckdb/node-api';
import type * as NodeBindings from '@duckdb/node-bindings';

const require = createRequire(import.meta.url);

/** The friendly API: queries and conversion of values. */
export function loadApi(): typeof NodeApi {
  return require('@duckdb/node-api') as typeof NodeApi;
}

/** The thin C binding: chunks and vectors. Used by bulk-writer.ts, string-words.ts, stream.ts and, to open, by db.ts only. */
export function loadBindings(): typeof NodeBindings {
  return require('@duckdb/node-bindings') as typeof NodeBindings;
}
