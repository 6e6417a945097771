import type { Facts } from '../facts.js';

/** Facts on which a rule must speak, facts close to them on which it must be silent, and what losses do to the first. */
export interface RuleCase {
  readonly rule: string;
  readonly what: string;
  readonly hit: Facts;
  readonly severity: 'error' | 'warning' | 'info';
  readonly title: RegExp;
  readonly miss: Readonly<Record<string, Facts>>;
  /** `fail`: what was seen is enough, whatever else was lost. */
  readonly withLosses: 'fail' | 'inconclusive';
}
