/** What `rules` shows: plain data made from the rule files. */
import type { Rule } from '../replay/rules.js';

export interface RuleListing {
  readonly rules: readonly Rule[];
  /** One rule was asked for by name: explain it. */
  readonly detailed: boolean;
}
