import type { ClockUnit } from '../base/units.js';
import type { Rule } from '../replay/rules.js';
import type { DiffReport } from './diff/index.js';
import type { Analysis } from './model.js';
import type { ConversionListing } from './model-conversions.js';
import type { LatencySections } from './latency-sections.js';
import type { RuleListing } from './model-rules.js';
import type { StateReport } from './model-state.js';
import type { Table } from './table.js';

/** Roles of text that may be coloured; colour never carries meaning alone. */
export type Tone = 'error' | 'warning' | 'info' | 'good' | 'strong' | 'faint';

export type Paint = (tone: Tone, text: string) => string;

/** The program, for outputs that name it. */
export interface Tool {
  readonly version: string;
  /** Rules that were run. */
  readonly rules: readonly Rule[];
}

export interface RenderOptions {
  /** Columns to fit into. */
  readonly width: number;
  /** False: draw with ASCII only. */
  readonly unicode: boolean;
  readonly paint: Paint;
  /** Evidence lines to show per finding; null = the output's own default. */
  readonly evidence: number | null;
  readonly verbose: boolean;
  /** Findings to show; 0 = all, null = the output's own default. */
  readonly limit: number | null;
  readonly tool: Tool;
  /** What stamps and durations count: that of the inputs' clock. */
  readonly unit: ClockUnit;
}

/** Pieces of output in order; a renderer of a long list yields as it reads. */
export type Chunks = Iterable<string> | AsyncIterable<string>;

/** One way to write results down. A report that an output does not have is left out. */
export interface Output {
  readonly name: string;
  /** For `--help`. */
  readonly description: string;
  readonly analysis?: (analysis: Analysis, options: RenderOptions) => Chunks;
  readonly conversions?: (listing: ConversionListing, options: RenderOptions) => Chunks;
  readonly state?: (report: StateReport, options: RenderOptions) => Chunks;
  readonly diff?: (report: DiffReport, options: RenderOptions) => Chunks;
  readonly latency?: (sections: LatencySections, options: RenderOptions) => Chunks;
  readonly rules?: (listing: RuleListing, options: RenderOptions) => Chunks;
  /** Any rows, as `sql` gives them. */
  readonly table?: (table: Table, options: RenderOptions) => Chunks;
}

/** Options for output without a terminal: 100 columns, no colour. */
export const PLAIN: RenderOptions = {
  width: 100,
  unicode: true,
  paint: (_tone, text) => text,
  evidence: null,
  verbose: false,
  limit: null,
  tool: { version: '0.0.0', rules: [] },
  unit: 'ns',
};
