/** The diff for people: what got worse, then what got better, then what changed; what is the same is folded. */
import { formatCount } from '../../base/units.js';
import { findingVerdict, type DiffReport } from '../diff/index.js';
import type { LatencyComparison } from '../diff/compare-latency.js';
import type { Verdict } from '../diff/outcome.js';
import * as words from '../diff/words.js';
import { plural } from '../names.js';
import type { RenderOptions, Tone } from '../render.js';
import type { Stats } from '../stats.js';
import { UNKNOWN_CELL } from '../table.js';
import { traceLine } from './analysis.js';
import { drawTable, wrap, wrapParts } from './layout.js';

/** One comparison as a line, with what decides its section. */
interface Line {
  readonly verdict: Verdict;
  readonly name: string;
  /** What it is counted under where only names are listed. */
  readonly family: string;
  readonly text: string;
}

const SECTIONS: readonly { readonly title: string; readonly verdicts: readonly Verdict[]; readonly tone: Tone }[] = [
  { title: 'Worse', verdicts: ['worse'], tone: 'error' },
  { title: 'Better', verdicts: ['better'], tone: 'good' },
  { title: 'Changed, neither better nor worse', verdicts: ['more', 'less'], tone: 'strong' },
];
const FOLDED: readonly { readonly title: string; readonly verdict: Verdict }[] = [
  { title: 'Same', verdict: 'same' },
  { title: 'Too few to tell', verdict: 'too-few' },
  { title: 'Not comparable', verdict: 'not-comparable' },
];

export function* renderDiff(report: DiffReport, options: RenderOptions): Generator<string> {
  for (const [name, side] of [
    ['A', report.a],
    ['B', report.b],
  ] as const) {
    for (const trace of side.traces)
      yield `${name}  ${traceLine(trace, { ...options, width: options.width - 3 }).replaceAll('\n', '\n   ')}\n`;
  }
  for (const note of report.notes) yield `${wrap(`note: ${note}`, options.width, '  ')}\n`;
  const { tone, word, detail } = words.diffVerdict(report);
  yield `\n${wrap(`${options.paint(tone, word)}  ${detail}`, options.width, '  ')}\n`;
  const lines = linesOf(report);
  for (const section of SECTIONS) {
    const own = lines.filter((line) => section.verdicts.includes(line.verdict));
    if (own.length > 0)
      yield `\n${options.paint(section.tone, section.title)}\n${own.map((l) => bullet(l, options)).join('')}`;
  }
  yield latencyTables(report, options);
  yield foldedText(lines, options);
  yield unavailableText(report, options);
  yield `\n${method(report, options)}\n`;
}

function linesOf(report: DiffReport): readonly Line[] {
  const duration = words.durationWords(report);
  return [
    ...report.findings.map((f) => {
      const { title } = (f.b ?? f.a)!;
      const vm = f.vm === null ? '' : ` vm${f.vm}`;
      const verdict = findingVerdict(f, report.options.failOn);
      return {
        verdict,
        name: `${f.rule}${vm}`,
        family: `${f.rule}${vm}`,
        text: `${words.findingWords(f)}: ${verdict === 'same' ? f.cause : title}`,
      };
    }),
    ...report.latency.flatMap((group) =>
      group.tests.map((test) => ({
        verdict: test.outcome.verdict,
        name: words.groupName(group),
        family: words.groupName(group),
        text: words.testWords(group, test, duration),
      })),
    ),
    ...report.counts.map((count) => ({
      verdict: count.outcome.verdict,
      name: words.countName(count),
      family: count.metric,
      text: words.countWords(count),
    })),
  ];
}

function bullet({ name, text }: Line, { width, paint }: RenderOptions): string {
  return `${wrap(`${paint('strong', name)}: ${text}`, width, '   ', ' ')}\n`;
}

/** All percentiles side by side of the groups that changed; of all with --verbose. */
function latencyTables(report: DiffReport, options: RenderOptions): string {
  const isShown = ({ tests, a, b }: LatencyComparison): boolean =>
    a !== null &&
    b !== null &&
    (options.verbose || tests.some((t) => t.outcome.verdict === 'worse' || t.outcome.verdict === 'better'));
  return report.latency
    .filter(isShown)
    .map((group) => `\n${groupTable(group, report, options)}\n`)
    .join('');
}

const STATISTICS = ['p50', 'p90', 'p99', 'max', 'mean'] as const;

function groupTable(group: LatencyComparison, report: DiffReport, { paint }: RenderOptions): string {
  const duration = words.durationWords(report);
  const cell = (value: number | null | undefined): string => (value == null ? UNKNOWN_CELL : duration(value));
  const row = (name: string, a: Stats | null, b: Stats | null, key: (typeof STATISTICS)[number]): string[] => [
    name,
    cell(a?.[key]),
    cell(b?.[key]),
    words.changeWords(a?.[key] ?? null, b?.[key] ?? null),
  ];
  const verdictOf = (statistic: string): string => {
    const test = group.tests.find((t) => t.statistic === statistic);
    return test === undefined ? '' : test.outcome.verdict.replaceAll('-', ' ');
  };
  const counts = [group.a?.count ?? 0, group.b?.count ?? 0] as const;
  const rows = [
    ['conversions', ...counts.map(formatCount), words.changeWords(...counts), ''],
    ...STATISTICS.map((key) => [...row(key, group.a, group.b, key), verdictOf(key === 'p50' ? 'median' : key)]),
    ...group.phases.map((p) => [
      ...row(`p50 of ${p.phase.replaceAll('_', ' ').replaceAll('+', ' + ')}`, p.a, p.b, 'p50'),
      p.outcome.reason ?? p.outcome.verdict,
    ]),
  ];
  const table = drawTable(rows, {
    head: ['', 'A', 'B', 'change', ''],
    aligns: ['left', 'right', 'right', 'right', 'left'],
    indent: 1,
  });
  return `${paint('strong', words.groupName(group))}\n${table}`;
}

/** What did not change: names only, and every number with --verbose. What could not be compared is always explained. */
function foldedText(lines: readonly Line[], options: RenderOptions): string {
  return FOLDED.map(({ title, verdict }) => {
    const own = lines.filter((line) => line.verdict === verdict);
    if (own.length === 0) return '';
    const head = `\n${options.paint('strong', title)}  ${formatCount(own.length)}`;
    if (options.verbose || verdict === 'not-comparable')
      return `${head}\n${own.map((l) => bullet(l, options)).join('')}`;
    const counts = new Map<string, number>();
    for (const { family } of own) counts.set(family, (counts.get(family) ?? 0) + 1);
    const names = [...counts].map(([name, n]) => (n === 1 ? name : `${name} (${n})`));
    return `${head}\n${wrapParts([` ${names[0]!}`, ...names.slice(1)], ' · ', options.width, '   ')}\n`;
  }).join('');
}

function unavailableText({ unavailable }: DiffReport, options: RenderOptions): string {
  if (unavailable.length === 0) return '';
  const lines = (['a', 'b'] as const).flatMap((side) => {
    const own = unavailable.filter((u) => u.side === side);
    if (own.length === 0) return [];
    const missing = [...new Set(own.map((u) => u.missing))].join('; ');
    return [
      wrap(
        `${side.toUpperCase()} cannot say: ${own.map((u) => u.what).join(', ')} (${missing})`,
        options.width,
        '   ',
        ' ',
      ),
    ];
  });
  return `\n${options.paint('strong', 'Known of one side only')}\n${lines.join('\n')}\n`;
}

function method({ options: settings, regressions }: DiffReport, options: RenderOptions): string {
  const parts = [
    `${plural(regressions, 'regression')}: a change counts from ${(settings.minChange * 100).toFixed(0)} % on and beyond noise (p ≤ ${settings.alpha} over all tests)`,
    `a new finding from ${settings.failOn} on`,
    'docs/diff.md tells the tests',
  ];
  return options.paint('faint', wrap(parts.join('; '), options.width, '  '));
}
