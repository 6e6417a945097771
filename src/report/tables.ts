/** The reports as flat tables, for outputs that have nothing but rows and columns (CSV, Markdown). */
import { errnoName } from './errno.js';
import type { Analysis } from './model.js';
import { shownFindings } from './model-findings.js';
import type { Conversion } from './model-conversions.js';
import type { RuleListing } from './model-rules.js';
import type { StateReport } from './model-state.js';
import { formatHex } from '../base/units.js';
import type { CellValue, Table, TableColumn } from './table.js';

export const column = (name: string, align: TableColumn['align'] = 'left'): TableColumn => ({ name, align });
export const numbers = (...names: string[]): readonly TableColumn[] => names.map((name) => column(name, 'right'));
export const texts = (...names: string[]): readonly TableColumn[] => names.map((name) => column(name));

const address = (value: bigint | null): CellValue => (value === null ? null : formatHex(value));

/** One row a finding of those that `--limit` lets through. */
export function findingsTable({ findings }: Analysis, limit: number | null): Table {
  return {
    columns: [
      ...texts('rule', 'severity', 'verdict'),
      ...numbers('vm', 'gmem', 'vcpu'),
      column('title'),
      ...numbers('since_ns', 'until_ns', 'count'),
      ...texts('certainty', 'hint', 'thresholds'),
    ],
    rows: shownFindings(findings, limit).map((f) => [
      f.rule,
      f.severity,
      f.verdict,
      f.vm,
      f.gmem,
      f.vcpu,
      f.title,
      f.sinceNs,
      f.untilNs,
      f.count,
      f.certainty,
      f.hint,
      f.thresholds,
    ]),
  };
}

export const CONVERSION_COLUMNS: readonly TableColumn[] = [
  ...numbers('id', 'vm', 'vcpu', 'tid', 'gmem', 'gpa', 'offset', 'size'),
  ...texts('direction', 'origin', 'request', 'mechanism', 'outcome'),
  ...numbers('request_ns', 'exit_ns', 'commit_ns', 'resume_ns', 'first_use_ns', 'latency_ns', 'attempts'),
  ...texts('last_errno', 'certainty'),
];

/** One row a conversion; columns as in CONVERSION_COLUMNS. */
export function conversionRow(c: Conversion): readonly CellValue[] {
  const last = c.attempts.at(-1)?.errno ?? null;
  return [
    c.id,
    c.vm,
    c.vcpu,
    c.tid,
    c.gmem,
    address(c.gpa),
    address(c.offset),
    c.size,
    c.direction,
    c.origin,
    c.request,
    c.mechanism,
    c.outcome,
    c.requestNs,
    c.exitNs,
    c.commitNs,
    c.resumeNs,
    c.firstUseNs,
    c.latencyNs,
    c.attempts.length,
    last === null || last === 0 ? null : errnoName(last),
    c.certainty,
  ];
}

/** One row a range, or a change where two instants are compared. */
export function stateTable(report: StateReport): Table {
  const where = numbers('vm', 'gmem', 'gpa', 'offset', 'size');
  if (report.untilNs !== null) {
    return {
      columns: [...where, ...texts('before', 'after', 'certainty')],
      rows: report.changes.map((c) => [
        c.vm,
        c.gmem,
        address(c.gpa),
        address(c.offset),
        c.size,
        c.before,
        c.after,
        c.certainty,
      ]),
    };
  }
  return {
    columns: [
      ...where,
      ...texts('state', 'allocation', 'attribute', 'shareability', 'conversion', 'certainty'),
      ...numbers('from_ns', 'to_ns'),
    ],
    rows: report.ranges.map((r) => [
      r.vm,
      r.gmem,
      address(r.gpa),
      address(r.offset),
      r.size,
      r.state,
      r.allocation,
      r.attribute,
      r.shareability,
      r.conversion,
      r.certainty,
      r.fromNs,
      r.toNs,
    ]),
  };
}

/** One row a rule. */
export function rulesTable({ rules }: RuleListing): Table {
  return {
    columns: texts('name', 'severity', 'summary', 'needs', 'parameters'),
    rows: rules.map((r) => [
      r.name,
      r.severity,
      r.summary,
      r.needs.join(' '),
      r.params.map((p) => `${p.name}=${String(p.value)}`).join(' '),
    ]),
  };
}
