import type { LatencySections } from '../latency-sections.js';
import type { Output } from '../render.js';
import { latencyTables } from '../latency-tables.js';
import { rulesTable, stateTable } from '../tables.js';
import { renderAnalysis } from './analysis.js';
import { renderConversions } from './conversions.js';
import { renderDiff } from './diff.js';
import { drawTable, escapeMarkdown } from './table.js';

/** A heading and a table for each part of the report. */
function renderLatency(sections: LatencySections): readonly string[] {
  return latencyTables(sections).map(
    ({ title, table }, k) => `${k === 0 ? '' : '\n'}### ${escapeMarkdown(title)}\n\n${drawTable(table)}`,
  );
}

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
