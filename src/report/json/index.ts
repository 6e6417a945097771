import type { Output } from '../render.js';
import { renderAnalysis } from './analysis.js';
import { renderConversions } from './conversions.js';
import { renderDiff } from './diff.js';
import { renderLatency } from './latency.js';
import { renderRules, renderState, renderTable } from './reports.js';

/** JSON for other programs; the contracts are in schema/. */
export const jsonOutput: Output = {
  name: 'json',
  description: 'for other programs (schema/*.schema.json)',
  analysis: renderAnalysis,
  conversions: renderConversions,
  state: renderState,
  latency: renderLatency,
  diff: renderDiff,
  rules: renderRules,
  table: renderTable,
};
