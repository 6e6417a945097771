import type { Output } from '../render.js';
import { renderAnalysis } from './analysis.js';
import { renderConversions } from './conversions.js';
import { renderDiff } from './diff.js';
import { renderLatency } from './latency.js';
import { renderRules } from './rules.js';
import { renderState } from './state.js';
import { renderTable } from './table.js';

/** Text for people at a terminal. */
export const textOutput: Output = {
  name: 'text',
  description: 'for people',
  analysis: renderAnalysis,
  conversions: renderConversions,
  state: renderState,
  latency: renderLatency,
  diff: renderDiff,
  rules: renderRules,
  table: renderTable,
};
