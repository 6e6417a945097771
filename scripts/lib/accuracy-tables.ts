/** The tables of docs/accuracy.md: results of comparisons in, Markdown out. */
import { TOPICS } from '../../test/support/verdict.js';
import type { Count, Score, Topic, Verdict } from '../../test/support/verdict.js';

/** What came of one recording. */
export interface Result {
  readonly capture: string;
  readonly recording: string;
  /** What the recording can be asked for. */
  readonly carries: ReadonlySet<string>;
  /** Whether its truth expects no finding at all. */
  readonly isClean: boolean;
  /** The comparison, or why there is no answer to compare. */
  readonly outcome: { readonly verdict: Verdict } | { readonly failure: string };
  /** Rules (and more) that the recording is too poor for. */
  readonly unavailable: readonly { readonly what: string; readonly missing: string }[];
}

const NONE = '–';
/** Texts of one recording that are printed in full; the table has their number in any case. */
const TEXT_LIMIT = 40;

const line = (cells: readonly (string | number)[]): string => `| ${cells.join(' | ')} |`;

type Row = readonly (string | number)[];

/** `names`: how many columns on the left hold words. */
function table(header: readonly string[], names: number, rows: readonly Row[]): string {
  const alignment = header.map((_, column) => (column < names ? '---' : '--:'));
  return [header, alignment, ...rows].map(line).join('\n');
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
const verdictOf = ({ outcome }: Result): Verdict | null => ('verdict' in outcome ? outcome.verdict : null);
const verdictsOf = (results: readonly Result[]): readonly Verdict[] =>
  results.map(verdictOf).filter((verdict) => verdict !== null);

/** Right of all that was judged; what is less than all stands out. */
function scoreCell({ right, missing, wrong }: Score): string {
  const judged = right + missing + wrong;
  if (judged === 0) return NONE;
  return right === judged ? `${right}/${judged}` : `**${right}/${judged}**`;
}

/** Found of those that were; in brackets where the recording need not show them all. */
function countCell(count: Count | undefined): string {
  if (count === undefined || (count.said === null && (!count.isAsked || count.were === 0))) return NONE;
  const text = `${count.said ?? '?'}/${count.were}`;
  if (!count.isAsked) return `(${text})`;
  return count.said === count.were ? text : `**${text}**`;
}

/** Found of those expected; in brackets where the recording need not show them. */
function findingsCell({ carries }: Result, { expected }: Verdict, rule?: string): string {
  const ofRule = expected.filter((finding) => rule === undefined || finding.rule === rule);
  const asked = ofRule.filter(({ isAsked }) => isAsked);
  const found = asked.filter(({ isFound }) => isFound).length;
  const beyond = ofRule.filter(({ isAsked, isFound }) => isFound && !isAsked).length;
  const cells: string[] = [];
  if (carries.has('findings'))
    cells.push(found === asked.length ? `${found}/${asked.length}` : `**${found}/${asked.length}**`);
  if (beyond > 0) cells.push(`(${beyond} more)`);
  return cells.join(' ') || NONE;
}

const HEADER = [
  'capture',
  'recording',
  'conversions',
  'right',
  'missing',
  'wrong',
  'unsure',
  'origin, outcome, vCPU',
  'ranges',
  'times',
  'attempts',
  'faults',
  'reboots',
  'punches',
  'leaks',
  'findings',
  'not expected',
];
const emphasized = (count: number): string | number => (count === 0 ? 0 : `**${count}**`);

function recordingRow(result: Result): Row {
  const { capture, recording, carries } = result;
  const verdict = verdictOf(result);
  if (verdict === null) return [capture, recording, '**no answer**', ...HEADER.slice(3).map(() => NONE)];
  const { scores, counts } = verdict;
  const { right, missing, wrong } = scores.conversions;
  return [
    capture,
    recording,
    verdict.happened,
    right,
    carries.has('conversions') ? emphasized(missing) : NONE,
    emphasized(wrong),
    verdict.unsure,
    ...(['details', 'ranges', 'times', 'attempts'] as const).map((topic) => scoreCell(scores[topic])),
    ...(['faults', 'reboots', 'punches'] as const).map((topic) => countCell(counts[topic])),
    findingsCell(result, verdict, 'refcount-leak'),
    findingsCell(result, verdict),
    emphasized(verdict.unexpected.length),
  ];
}

/** One row a recording. */
export function renderRecordings(results: readonly Result[]): string {
  return table(HEADER, 2, results.map(recordingRow));
}

/** Everything that was judged, by topic. */
export function renderTotals(results: readonly Result[]): string {
  const verdicts = verdictsOf(results);
  const countsOf = (topics: readonly Topic[]): readonly number[] =>
    (['right', 'missing', 'wrong'] as const).map((key) =>
      sum(verdicts.flatMap(({ scores }) => topics.map((topic) => scores[topic][key]))),
    );
  const rows = TOPICS.map((topic) => [TOPIC_NAMES[topic], ...countsOf([topic])]);
  return table(['asked', 'right', 'missing', 'wrong'], 1, [...rows, ['all', ...countsOf(TOPICS)]]);
}

const TOPIC_NAMES: Readonly<Record<Topic, string>> = {
  vms: 'number of VMs (once a recording)',
  conversions: 'conversions',
  details: 'origin, outcome, vCPU of conversions',
  ranges: 'gpa and offset of conversions',
  times: 'request, commit and resume times of conversions',
  attempts: 'errnos and error_offset of attempts',
  faults: 'number of memory faults (once a recording)',
  reboots: 'number of reboots (once a recording)',
  punches: 'number of punches (once a recording)',
  findings: 'findings',
};

/** Every text of what is missing or wrong. */
export function renderFailures(results: readonly Result[]): string {
  const blocks = results.flatMap((result) => {
    const verdict = verdictOf(result);
    const texts =
      verdict === null
        ? ['failure' in result.outcome ? `no answer: ${result.outcome.failure}` : '']
        : [...verdict.wrong.map((text) => `wrong: ${text}`), ...verdict.missing.map((text) => `missing: ${text}`)];
    if (texts.length === 0) return [];
    const rest = texts.length - TEXT_LIMIT;
    const shown = [...texts.slice(0, TEXT_LIMIT), ...(rest > 0 ? [`and ${rest} more`] : [])];
    return [[`- ${result.capture} ${result.recording}`, ...shown.map((text) => `  - ${text}`)].join('\n')];
  });
  return blocks.length === 0 ? 'None.' : blocks.join('\n');
}

/** How a rule did over many recordings. */
export interface RuleScore {
  readonly rule: string;
  /** Expected findings of recordings that can show them. */
  readonly asked: number;
  readonly found: number;
  /** Expected findings that were found though the recording need not show them. */
  readonly beyond: number;
  readonly unexpected: number;
  /** Those of `unexpected` on recordings in which nothing is wrong. */
  readonly onClean: number;
  /** Recordings that cannot carry the rule. */
  readonly unavailable: number;
}

export function scoreRules(results: readonly Result[], rules: readonly string[]): readonly RuleScore[] {
  return rules.map((rule) => {
    const unexpectedIn = (some: readonly Result[]): number =>
      sum(verdictsOf(some).map((verdict) => verdict.unexpected.filter((name) => name === rule).length));
    const expected = verdictsOf(results).flatMap((verdict) => verdict.expected.filter((each) => each.rule === rule));
    return {
      rule,
      asked: expected.filter(({ isAsked }) => isAsked).length,
      found: expected.filter(({ isAsked, isFound }) => isAsked && isFound).length,
      beyond: expected.filter(({ isAsked, isFound }) => !isAsked && isFound).length,
      unexpected: unexpectedIn(results),
      onClean: unexpectedIn(results.filter(({ isClean }) => isClean)),
      unavailable: results.filter(({ unavailable }) => unavailable.some(({ what }) => what === rule)).length,
    };
  });
}

/** Rounded down: only all is 100 %. */
const percent = (part: number, whole: number): string =>
  whole === 0 ? NONE : `${Math.floor((part / whole) * 1000) / 10} %`;

/** Precision is found ÷ (found + not expected), recall found ÷ expected. */
export function renderRules(scores: readonly RuleScore[]): string {
  const header = [
    'rule',
    'expected',
    'found',
    'missed',
    'also found',
    'not expected',
    'of these on clean ones',
    'precision',
    'recall',
    'unavailable in',
  ];
  const rows = scores.map(({ rule, asked, found, beyond, unexpected, onClean, unavailable }) => [
    `\`${rule}\``,
    asked,
    found,
    emphasized(asked - found),
    beyond,
    emphasized(unexpected),
    emphasized(onClean),
    percent(found + beyond, found + beyond + unexpected),
    percent(found, asked),
    unavailable,
  ]);
  return table(header, 1, rows);
}

/** Which rules how many recordings cannot carry, and what these lack. */
export function renderUnavailable(results: readonly Result[], rules: readonly string[]): string {
  const recordings = new Map<string, number>();
  for (const { unavailable } of results) {
    for (const { what, missing } of unavailable) {
      // how many of something it were differs from trace to trace
      const key = `\`${what}\` | ${missing.replace(/\b\d[\d,]*\b/g, 'n').replaceAll('|', '\\|')}`;
      if (rules.includes(what)) recordings.set(key, (recordings.get(key) ?? 0) + 1);
    }
  }
  if (recordings.size === 0) return 'None.';
  const rows = [...recordings].sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, count]) => [...key.split(' | '), count]);
  return table(['rule', 'what is missing', 'recordings'], 2, rows);
}

/** Runs of the simulator of one platform and mechanism. */
export interface SimulatedGroup {
  readonly platform: string;
  readonly mechanism: string;
  /** Nothing lost: the answer must be the truth. */
  readonly whole: readonly Result[];
  /** Events dropped at random: nothing false may be said. */
  readonly lossy: readonly Result[];
}

const isEqual = (result: Result): boolean => {
  const verdict = verdictOf(result);
  return verdict !== null && verdict.wrong.length === 0 && verdict.missing.length === 0;
};
const isHonest = (result: Result): boolean => verdictOf(result)?.wrong.length === 0;

export function renderSimulated(groups: readonly SimulatedGroup[]): string {
  const header = [
    'platform',
    'mechanism',
    'runs',
    'conversions',
    'equal to truth',
    'not equal',
    'runs with losses',
    'nothing false said',
    'something false said',
  ];
  const row = (platform: string, mechanism: string, whole: readonly Result[], lossy: readonly Result[]): Row => {
    const [equal, honest] = [whole.filter(isEqual).length, lossy.filter(isHonest).length];
    const conversions = sum(verdictsOf(whole).map(({ happened }) => happened));
    const [unequal, dishonest] = [emphasized(whole.length - equal), emphasized(lossy.length - honest)];
    return [platform, mechanism, whole.length, conversions, equal, unequal, lossy.length, honest, dishonest];
  };
  const rows = groups.map(({ platform, mechanism, whole, lossy }) => row(platform, mechanism, whole, lossy));
  const [whole, lossy] = [groups.flatMap((group) => group.whole), groups.flatMap((group) => group.lossy)];
  return table(header, 2, [...rows, row('all', '', whole, lossy)]);
}

/** Of runs that lost events only what is false is a failure: what is missing may have been lost. */
export function withoutMissing(result: Result): Result {
  const verdict = verdictOf(result);
  return verdict === null ? result : { ...result, outcome: { verdict: { ...verdict, missing: [] } } };
}
