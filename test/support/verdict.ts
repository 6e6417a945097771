/** What a comparison with the truth found, as texts for a reader and counted by topic (docs/accuracy.md). */

export const TOPICS = [
  'vms',
  'conversions',
  /** Origin, outcome and vCPU of a conversion that was found. */
  'details',
  /** gpa and offset of a conversion that was found; another size is another conversion. */
  'ranges',
  'times',
  /** errno of every try, and error_offset of the failed ones. */
  'attempts',
  'faults',
  'reboots',
  'punches',
  'findings',
] as const;
export type Topic = (typeof TOPICS)[number];

export interface Score {
  right: number;
  missing: number;
  wrong: number;
}

/** How many there were, and how many the answer has; null where it says that it cannot know. */
export interface Count {
  readonly were: number;
  readonly said: number | null;
  /** Whether the recording carries them all. */
  readonly isAsked: boolean;
}

/** A finding that had to be there, once a rule and VM. */
export interface ExpectedFinding {
  readonly rule: string;
  readonly isFound: boolean;
  /** Whether the recording can show it. */
  readonly isAsked: boolean;
}

/** `wrong` says something that did not happen; `missing` is not said although the recording carries it. */
export interface Verdict {
  right: number;
  readonly missing: string[];
  readonly wrong: string[];
  readonly scores: Readonly<Record<Topic, Score>>;
  /** Conversions of the truth within the recording. */
  happened: number;
  /** Conversions of the answer that are no claim: assumed, unknown, or without a range. */
  unsure: number;
  readonly counts: Partial<Record<Topic, Count>>;
  readonly expected: ExpectedFinding[];
  /** Rules of findings that nothing in the truth asks for or allows, one a finding. */
  readonly unexpected: string[];
}

export function emptyVerdict(): Verdict {
  const scores = Object.fromEntries(TOPICS.map((topic) => [topic, { right: 0, missing: 0, wrong: 0 }]));
  return {
    right: 0,
    missing: [],
    wrong: [],
    scores: scores as Record<Topic, Score>,
    happened: 0,
    unsure: 0,
    counts: {},
    expected: [],
    unexpected: [],
  };
}

export function noteRight(verdict: Verdict, topic: Topic): void {
  verdict.right++;
  verdict.scores[topic].right++;
}

export function noteMissing(verdict: Verdict, topic: Topic, what: string): void {
  verdict.missing.push(what);
  verdict.scores[topic].missing++;
}

export function noteWrong(verdict: Verdict, topic: Topic, what: string): void {
  verdict.wrong.push(what);
  verdict.scores[topic].wrong++;
}
