/** Which rules run, with which parameters; typing errors in either are said before any work is done. */
import { TraceError, type ErrorPlace } from '../base/errors.js';
import { loadRules, runRules, type Rule } from '../replay/rules.js';
import type { Store } from '../store/db.js';
import type { RuleSettings } from './config.js';
import { didYouMean } from './suggest.js';

/** All rules there are, built-in and the user's. Throws TraceError `not-found` or `rule-invalid`. */
export function knownRules(settings: Pick<RuleSettings, 'dirs'>): readonly Rule[] {
  return loadRules(settings.dirs);
}

function checkNames(names: readonly string[], flag: string, rules: readonly Rule[], place: ErrorPlace = {}): void {
  const known = rules.map((rule) => rule.name);
  const wrong = names.find((name) => !known.includes(name));
  if (wrong !== undefined) {
    throw new TraceError('usage', `${flag} ${wrong}: no such rule`, { ...place, hint: didYouMean(wrong, known) });
  }
}

function numberOf(rules: readonly Rule[], [key, text]: readonly [string, string], place: ErrorPlace = {}): number {
  const [ruleName = '', name = ''] = key.split('.');
  checkNames([ruleName], 'parameter of', rules, place);
  const params = rules.find((rule) => rule.name === ruleName)!.params.map((param) => param.name);
  if (!params.includes(name)) {
    throw new TraceError('usage', `${key}: the rule has no such parameter`, {
      ...place,
      hint: didYouMean(name, params),
    });
  }
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value))
    throw new TraceError('usage', `${key} = ${text}: not a number`, place);
  return value;
}

export interface Judgement {
  readonly rules: readonly Rule[];
  /** `rule.parameter` → value. */
  readonly params: ReadonlyMap<string, number>;
}

/** Loads the rules that the settings ask for. Throws TraceError `usage` on an unknown rule or parameter. */
export function settleRules(settings: RuleSettings): Judgement {
  const all = knownRules(settings);
  checkNames(settings.select, '--select', all);
  checkNames(settings.ignore, '--ignore', all);
  const params = new Map(
    [...settings.params].map((entry) => [entry[0], numberOf(all, entry, settings.places?.get(entry[0]))]),
  );
  const isWanted = (rule: Rule): boolean =>
    (settings.select.length === 0 || settings.select.includes(rule.name)) && !settings.ignore.includes(rule.name);
  return { rules: all.filter(isWanted), params };
}

/** Runs the rules on a replayed store. */
export async function judge(store: Store, { rules, params }: Judgement): Promise<void> {
  await runRules(store, rules, params);
}
