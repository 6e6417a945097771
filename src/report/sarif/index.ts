import type { Output } from '../render.js';
import { renderAnalysis } from './analysis.js';

/** SARIF 2.1.0, for code scanning services and viewers of editors. */
export const sarifOutput: Output = {
  name: 'sarif',
  description: 'findings as SARIF 2.1.0',
  analysis: renderAnalysis,
};
