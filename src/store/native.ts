/**
 * DuckDB's binding, and how its vectors hold numbers. It is loaded when it is first needed: 0.1 s that `--help` must not pay. `createRequire` and not `import`, because
 * Node scans the package's many re-exports for an ESM import, which costs three times as much CPU.
 */
import { createRequire } from 'node:module';
import type * as NodeApi from '@duckdb/node-api';
import type * as NodeBindings from '@duckdb/node-bindings';

const require = createRequire(import.meta.url);

/** The friendly API: conversion of values of rare types (result-rows.ts), and nothing else. */
export function loadApi(): typeof NodeApi {
  return require('@duckdb/node-api') as typeof NodeApi;
}

/** The thin C binding: queries, chunks and vectors. Used in this room only, where test/architecture.test.ts says so. */
export function loadBindings(): typeof NodeBindings {
  return require('@duckdb/node-bindings') as typeof NodeBindings;
}

export type NumberArray =
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

export interface NumberView {
  readonly bytes: number;
  readonly view: (buffer: ArrayBufferLike, offset: number, rows: number) => NumberArray;
}

/** Numbers and BOOLEAN lie in a vector as they do in a typed array: element bytes and the array of each type. */
export function viewsByType(): ReadonlyMap<NodeBindings.Type, NumberView> {
  const { Type } = loadBindings();
  return new Map<NodeBindings.Type, NumberView>([
    [Type.BOOLEAN, { bytes: 1, view: (b, at, n) => new Uint8Array(b, at, n) }],
    [Type.UTINYINT, { bytes: 1, view: (b, at, n) => new Uint8Array(b, at, n) }],
    [Type.USMALLINT, { bytes: 2, view: (b, at, n) => new Uint16Array(b, at, n) }],
    [Type.UINTEGER, { bytes: 4, view: (b, at, n) => new Uint32Array(b, at, n) }],
    [Type.UBIGINT, { bytes: 8, view: (b, at, n) => new BigUint64Array(b, at, n) }],
    [Type.TINYINT, { bytes: 1, view: (b, at, n) => new Int8Array(b, at, n) }],
    [Type.SMALLINT, { bytes: 2, view: (b, at, n) => new Int16Array(b, at, n) }],
    [Type.INTEGER, { bytes: 4, view: (b, at, n) => new Int32Array(b, at, n) }],
    [Type.BIGINT, { bytes: 8, view: (b, at, n) => new BigInt64Array(b, at, n) }],
    [Type.FLOAT, { bytes: 4, view: (b, at, n) => new Float32Array(b, at, n) }],
    [Type.DOUBLE, { bytes: 8, view: (b, at, n) => new Float64Array(b, at, n) }],
  ]);
}
