/** The report room's door: what can be read from the tables, and every way to write it down. */
import { csvOutput } from './csv/index.js';
import { jsonOutput } from './json/index.js';
import { markdownOutput } from './markdown/index.js';
import type { Output } from './render.js';
import { sarifOutput } from './sarif/index.js';
import { textOutput } from './text/index.js';

/** All outputs, the default first. A new one is a folder and a line here. */
export const OUTPUTS = [
  textOutput,
  jsonOutput,
  markdownOutput,
  csvOutput,
  sarifOutput,
] as const satisfies readonly Output[];

export { readAnalysis, readTraces, readUnit, startOf, unitOf, type Analysis } from './model.js';
export { readConversions, type ConversionFilter } from './model-conversions.js';
export { readLatency, parseGroupings, GROUPING_NAMES } from './latency.js';
export { compareSides, readSide, type DiffReport, type DiffSide } from './diff/index.js';
export { LATENCY_SECTIONS, parseSections, readLatencySections } from './latency-sections.js';
export { EXIT_ORDERS } from './exits/guest.js';
export { EXIT_EVENTS } from './exits/samples.js';
export { buildChanges, readGmemIds, readSpan, readStateAt, type StateFilter, type StateReport } from './model-state.js';
export { SEVERITIES, type Severity } from './model-findings.js';
export type { Chunks, Output, Paint, RenderOptions } from './render.js';
export type { Table } from './table.js';
