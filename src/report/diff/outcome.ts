/** From the p value and size of each difference to a verdict; the same rule for all that is compared. */
import { holm } from './distributions.js';

/**
 * `worse`, `better`: beyond noise and at least the least change, of what is bad when it rises. `more`, `less`: the same of
 * what is neither good nor bad. `same`: not beyond noise, or too small a change. `too-few`: even the most lopsided samples
 * of this number would say nothing. `not-comparable`: one side cannot give it, or lost events could be the difference.
 */
export type Verdict = 'worse' | 'better' | 'more' | 'less' | 'same' | 'too-few' | 'not-comparable';

export interface Outcome {
  readonly verdict: Verdict;
  /** Why `too-few` or `not-comparable`; else null. */
  readonly reason: string | null;
  /** B over A; null: not known, or A is 0. Of latencies the Hodges-Lehmann ratio or that of the percentiles. */
  readonly ratio: number | null;
  /** 95 % interval of the ratio, where there is one. */
  readonly low: number | null;
  readonly high: number | null;
  /** p of the test, and adjusted for all tests of its family. */
  readonly p: number | null;
  readonly adjusted: number | null;
}

/** A difference before all are judged together. */
export interface Draft {
  /** `judged` ones can make a regression; `told` ones explain, and are a family of tests of their own. */
  readonly family: 'judged' | 'told';
  readonly sense: 'bad' | 'neutral';
  readonly ratio: number | null;
  readonly low: number | null;
  readonly high: number | null;
  /** null: not tested, for the reason. */
  readonly p: number | null;
  readonly verdict: 'too-few' | 'not-comparable' | null;
  readonly reason: string | null;
  /** B lies above A. */
  readonly rises: boolean;
  /** The difference is no larger than what the recording can resolve. */
  readonly isTooSmall: boolean;
  /** What would be said if lost events were not thought of: a difference by this p that they could explain, and why. */
  readonly withoutLoss: { readonly p: number; readonly reason: string } | null;
}

/** A difference that is not tested. */
export function untested(verdict: 'too-few' | 'not-comparable', reason: string, ratio: number | null = null): Draft {
  return {
    ...{ family: 'told', sense: 'neutral', ratio, low: null, high: null, p: null, verdict, reason },
    ...{ rises: false, isTooSmall: false, withoutLoss: null },
  };
}

export interface DiffSettings {
  /** Chance of a false alarm over all judged comparisons together. */
  readonly alpha: number;
  /** Least relative change that counts: 0.1 is 10 %, so ratios between 1/1.1 and 1.1 are no change. */
  readonly minChange: number;
}

/** Judges all drafts together: p values of a family are adjusted for how many there are. */
export function settle(drafts: readonly Draft[], settings: DiffSettings): ReadonlyMap<Draft, Outcome> {
  const outcomes = new Map<Draft, Outcome>();
  for (const family of ['judged', 'told'] as const) {
    const tested = drafts.filter((draft) => draft.family === family && draft.p !== null);
    const adjusted = holm(tested.map((draft) => draft.p!));
    for (const [k, draft] of tested.entries()) outcomes.set(draft, outcomeOf(draft, adjusted[k]!, settings));
  }
  for (const draft of drafts) if (draft.p === null) outcomes.set(draft, outcomeOf(draft, null, settings));
  return outcomes;
}

function outcomeOf(draft: Draft, adjusted: number | null, settings: DiffSettings): Outcome {
  const { ratio, low, high, p } = draft;
  const rest = { ratio, low, high, p, adjusted };
  if (draft.verdict !== null) return { ...rest, verdict: draft.verdict, reason: draft.reason };
  const isLarge = !draft.isTooSmall && isBeyond(ratio, settings.minChange);
  const isSignificant = adjusted !== null && adjusted <= settings.alpha;
  if (isLarge && !isSignificant && draft.withoutLoss !== null && draft.withoutLoss.p <= settings.alpha) {
    return { ...rest, verdict: 'not-comparable', reason: draft.withoutLoss.reason };
  }
  if (!isLarge || !isSignificant) return { ...rest, verdict: 'same', reason: null };
  const words = draft.sense === 'bad' ? (['worse', 'better'] as const) : (['more', 'less'] as const);
  return { ...rest, verdict: draft.rises ? words[0] : words[1], reason: null };
}

/** A ratio that is not known comes from a side with nothing at all: any change from there is large. */
function isBeyond(ratio: number | null, minChange: number): boolean {
  return ratio === null || ratio >= 1 + minChange || ratio <= 1 / (1 + minChange);
}
