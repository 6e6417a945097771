/** A diff as one flat table: a row a comparison, for CSV and spreadsheets. */
import type { Table, TableColumn } from '../table.js';
import { findingVerdict, type DiffReport } from './index.js';
import type { Outcome } from './outcome.js';
import { countName, groupName } from './words.js';

type Row = Table['rows'][number];

const NAMES = ['kind', 'name', 'statistic', 'verdict', 'reason', 'unit'] as const;
const NUMBERS = ['a', 'b', 'of_a', 'of_b', 'ratio', 'ratio_low', 'ratio_high', 'p', 'p_adjusted'] as const;

const COLUMNS: readonly TableColumn[] = [
  ...NAMES.map((name) => ({ name, align: 'left' as const })),
  ...NUMBERS.map((name) => ({ name, align: 'right' as const })),
];

const STATISTICS = ['count', 'min', 'mean', 'p50', 'p90', 'p99', 'p999', 'max'] as const;

const figures = (o: Outcome | null): Row =>
  o === null
    ? [null, null, null, null, null]
    : [o.ratio, o.low, o.high, o.p, o.adjusted].map((n) => (n === null ? null : Number(n.toPrecision(6))));

/** All comparisons: findings, latencies (each statistic of each group, and the median of each phase), counts. */
export function diffTable(report: DiffReport): Table {
  const unit = report.a.clockUnit === report.b.clockUnit ? report.a.clockUnit : null;
  const findings = report.findings.map((f): Row => [
    ...['finding', `${f.rule}${f.vm === null ? '' : ` vm${f.vm}`}: ${f.cause}`, f.change],
    ...[findingVerdict(f, report.options.failOn), f.reason, 'finding'],
    ...[f.a?.findings ?? 0, f.b?.findings ?? 0, null, null],
    ...figures(f.outcome),
  ]);
  const latency = report.latency.flatMap((g): Row[] => {
    const outcomeOf = (key: string): Outcome | null =>
      g.tests.find((t) => t.statistic === (key === 'p50' ? 'median' : key))?.outcome ?? null;
    return [
      ...STATISTICS.map((key): Row => {
        const outcome = outcomeOf(key);
        return [
          ...['latency', groupName(g), key, outcome?.verdict ?? null, outcome?.reason ?? null],
          ...[key === 'count' ? 'conversion' : unit, g.a?.[key] ?? null, g.b?.[key] ?? null, null, null],
          ...figures(outcome),
        ];
      }),
      ...g.phases.map((p): Row => [
        ...['phase', `${groupName(g)} ${p.phase}`, 'p50', p.outcome.verdict, p.outcome.reason, unit],
        ...[p.a?.p50 ?? null, p.b?.p50 ?? null, null, null],
        ...figures(p.outcome),
      ]),
    ];
  });
  const counts = report.counts.map((c): Row => [
    ...['count', countName(c), null, c.outcome.verdict, c.outcome.reason, c.unit],
    ...[c.a, c.b, c.ofA, c.ofB],
    ...figures(c.outcome),
  ]);
  return { columns: COLUMNS, rows: [...findings, ...latency, ...counts] };
}
