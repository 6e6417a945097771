/** JSON of the smaller reports; each names its own schema version. */
import type { RuleListing } from '../model-rules.js';
import type { StateReport } from '../model-state.js';
import type { Table } from '../table.js';
import { jsonInteger } from './integer.js';

const document = (value: object): string => `${JSON.stringify(value, null, 2)}\n`;

/** `gmemtrace.state/1`: ranges at an instant, or changes between two. */
export function* renderState(report: StateReport): Generator<string> {
  const place = (r: StateReport['ranges'][number] | StateReport['changes'][number]): object => ({
    vm: r.vm,
    gmem: r.gmem,
    gpa: jsonInteger(r.gpa),
    offset: jsonInteger(r.offset),
    size: jsonInteger(r.size),
  });
  const head = { schema: 'gmemtrace.state/1', at_ns: jsonInteger(report.atNs), until_ns: jsonInteger(report.untilNs) };
  if (report.untilNs !== null) {
    const changes = report.changes.map((c) => ({
      ...place(c),
      before: c.before,
      after: c.after,
      certainty: c.certainty,
    }));
    yield document({ ...head, changes });
    return;
  }
  const ranges = report.ranges.map((r) => ({
    ...place(r),
    state: r.state,
    allocation: r.allocation,
    attribute: r.attribute,
    shareability: r.shareability,
    conversion: r.conversion,
    certainty: r.certainty,
    from_ns: jsonInteger(r.fromNs),
    to_ns: jsonInteger(r.toNs),
  }));
  yield document({ ...head, ranges });
}

/** `gmemtrace.rules/1`. */
export function* renderRules(listing: RuleListing): Generator<string> {
  yield document({
    schema: 'gmemtrace.rules/1',
    rules: listing.rules.map((r) => ({
      name: r.name,
      severity: r.severity,
      summary: r.summary,
      needs: r.needs,
      params: r.params.map(({ name, value, doc }) => ({ name, value, doc })),
    })),
  });
}

/** Rows of a query: a list of objects. */
export function* renderTable(table: Table): Generator<string> {
  const rows = table.rows.map((row) =>
    JSON.stringify(
      Object.fromEntries(
        table.columns.map((column, k) => {
          const value = row[k] ?? null;
          return [column.name, typeof value === 'bigint' ? jsonInteger(value) : value];
        }),
      ),
    ),
  );
  yield rows.length === 0 ? '[]\n' : `[\n  ${rows.join(',\n  ')}\n]\n`;
}
