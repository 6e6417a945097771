import type { Output } from '../render.js';
import { rulesTable, stateTable } from '../tables.js';
import { renderAnalysis } from './analysis.js';
import { renderConversions } from './conversions.js';
import { renderDiff } from './diff.js';
import { renderLatency } from './latency.js';
import { drawTable } from './table.js';

/** Markdown (GitHub's) for a CI page or an issue. */
export const markdownOutput: Output = {
  name: 'markdown',
  description: 'for a CI page or an issue',
  analysis: renderAnalysis,
  conversions: renderConversions,
  state: (report) => [drawTable(stateTable(report))],
  latency: renderLatency,
  diff: renderDiff,
  rules: (listing) => [drawTable(rulesTable(listing))],
  table: (table) => [drawTable(table)],
};
