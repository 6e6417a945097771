/** The families of texts, and the ways in which one family's lines may begin. */
import type { Cursor } from './cursor.js';
import type { LineContext, LineKind } from './context.js';
import { scanFtrace, scanLatency } from './scan-ftrace.js';
import { scanHyp, scanVerbose } from './scan-other.js';
import { scanScript } from './scan-script.js';
import type { StampReader } from './stamps.js';

export type FamilyName = 'ftrace-text' | 'trace-cmd-report' | 'perf-script' | 'hyp-text';

/** Reads the front of the line [cursor.pos, cursor.end) into the context. */
export type Scanner = (cursor: Cursor, context: LineContext, stamps: StampReader) => LineKind;

export interface Dialect {
  /** Said in TraceMeta.version; '' for the usual layout. */
  readonly name: string;
  readonly scan: Scanner;
}

const USUAL: Dialect = { name: '', scan: scanFtrace };
const LATENCY: Dialect = { name: 'latency', scan: scanLatency };
const VERBOSE: Dialect = { name: 'latency verbose', scan: scanVerbose };
const SCRIPT: Dialect = { name: '', scan: scanScript };
const HYP: Dialect = { name: '', scan: scanHyp };

/** Dialects by family, the usual one first. */
export const DIALECTS: Readonly<Record<FamilyName, readonly Dialect[]>> = {
  'ftrace-text': [USUAL, LATENCY, VERBOSE],
  'trace-cmd-report': [USUAL, LATENCY],
  'perf-script': [SCRIPT],
  'hyp-text': [HYP],
};
