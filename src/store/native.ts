/**
 * Loads DuckDB when it is first needed: 0.1 s that `--help` must not pay. `createRequire` and not `import`, because
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
