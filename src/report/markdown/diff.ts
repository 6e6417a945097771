import { formatCount } from '../../base/units.js';
import { findingVerdict, type DiffReport, type SideHead } from '../diff/index.js';
import type { Verdict } from '../diff/outcome.js';
import * as words from '../diff/words.js';
import { plural } from '../names.js';
import type { Table } from '../table.js';
import { drawTable, escapeHtml, escapeMarkdown } from './table.js';

type Row = readonly [verdict: Verdict, what: string, how: string];

const CHANGED: readonly Verdict[] = ['worse', 'better', 'more', 'less'];

/** For a CI page: the verdict as heading, what changed as a table, all else folded. */
export function* renderDiff(report: DiffReport): Generator<string> {
  const { word, detail } = words.diffVerdict(report);
  yield `## gmemtrace diff: ${word}: ${detail}\n\n${sideLine('A', report.a)}${sideLine('B', report.b)}`;
  if (report.notes.length > 0) yield `\n${report.notes.map((note) => `> ${escapeMarkdown(note)}\n`).join('>\n')}`;
  const rows = rowsOf(report);
  const changed = CHANGED.flatMap((verdict) => rows.filter((row) => row[0] === verdict));
  yield changed.length === 0 ? '\nNothing changed beyond noise.\n' : `\n${drawTable(tableOf(changed))}`;
  yield fold('Latency', drawTable(latencyTable(report)));
  const rest = rows.filter((row) => !CHANGED.includes(row[0]));
  if (rest.length > 0) yield fold(`${plural(rest.length, 'comparison')} without a change`, drawTable(tableOf(rest)));
  if (report.unavailable.length > 0) yield fold('Known of one side only', drawTable(unavailableTable(report)));
}

function sideLine(name: string, { traces }: SideHead): string {
  return traces
    .map((t) => {
      const kernel = t.kernel === null ? 'kernel unknown' : `Linux ${t.kernel} ${t.arch ?? ''}`.trimEnd();
      const lost = t.lost === 0 ? 'nothing lost' : t.lost === null ? 'events lost' : `${formatCount(t.lost)} lost`;
      return `- ${name}: \`${t.path}\` · ${kernel} · ${plural(t.events, 'event')} · ${lost}\n`;
    })
    .join('');
}

function rowsOf(report: DiffReport): readonly Row[] {
  const duration = words.durationWords(report);
  return [
    ...report.findings.map((f): Row => {
      const vm = f.vm === null ? '' : ` vm${f.vm}`;
      const how = `${words.findingWords(f)}: ${(f.b ?? f.a)!.title}`;
      return [findingVerdict(f, report.options.failOn), `${f.rule}${vm}`, how];
    }),
    ...report.latency.flatMap((g) =>
      g.tests.map((t): Row => [t.outcome.verdict, words.groupName(g), words.testWords(g, t, duration)]),
    ),
    ...report.counts.map((c): Row => [c.outcome.verdict, words.countName(c), words.countWords(c)]),
  ];
}

function tableOf(rows: readonly Row[]): Table {
  return {
    columns: ['verdict', 'what', 'how'].map((name) => ({ name, align: 'left' })),
    rows: rows.map(([verdict, ...rest]) => [verdict.replaceAll('-', ' '), ...rest]),
  };
}

function latencyTable(report: DiffReport): Table {
  const duration = words.durationWords(report);
  const keys = ['p50', 'p90', 'p99', 'max', 'mean'] as const;
  const columns = ['conversions', 'side', 'count', ...keys];
  return {
    columns: columns.map((name, k) => ({ name, align: k < 2 ? 'left' : 'right' })),
    rows: report.latency.flatMap((g) =>
      (['a', 'b'] as const).map((side) => [
        words.groupName(g),
        side.toUpperCase(),
        g[side]?.count ?? 0,
        ...keys.map((key) => {
          const value = g[side]?.[key] ?? null;
          return value === null ? null : duration(value);
        }),
      ]),
    ),
  };
}

function unavailableTable({ unavailable }: DiffReport): Table {
  return {
    columns: ['what', 'unknown in', 'because'].map((name) => ({ name, align: 'left' })),
    rows: unavailable.map((u) => [u.what, u.side.toUpperCase(), u.missing]),
  };
}

function fold(summary: string, body: string): string {
  return `\n<details><summary>${escapeHtml(summary)}</summary>\n\n${body}\n</details>\n`;
}
