/** The latency report as flat tables (CSV, Markdown). Durations in ns, addresses in hex. */
import { formatHex } from '../base/units.js';
import { guestExitsTable, userExitsTable } from './exits/tables.js';
import type { FaultRate } from './fault-rate.js';
import { bucketStart } from './histogram.js';
import type { LatencyReport, SlowConversion } from './latency.js';
import type { LatencySections } from './latency-sections.js';
import { rounded } from './share.js';
import type { Sizes } from './sizes.js';
import { TIMES, times, type Stats } from './stats.js';
import type { CellValue, Table } from './table.js';
import { numbers, texts } from './tables.js';

export interface PartTable {
  /** `conversions`, `histogram`, `slowest`, `left_out`, `sizes`, `user_exits`, `guest_exits`, `memory_faults`. */
  readonly part: string;
  readonly table: Table;
}

/** The tables of each section of the report, in its order; what the trace cannot show has no rows. */
export function latencyTables(sections: LatencySections): readonly PartTable[] {
  const { conversions, sizes, userExits, guestExits, memoryFaults } = sections;
  return [
    ...(conversions === undefined
      ? []
      : [
          { part: 'conversions', table: conversionsTable(conversions) },
          { part: 'histogram', table: histogramTable(conversions) },
          { part: 'slowest', table: slowestTable(conversions) },
          { part: 'left_out', table: leftOutTable(conversions) },
        ]),
    ...(sizes === undefined ? [] : [{ part: 'sizes', table: sizesTable(sizes) }]),
    ...(userExits === undefined ? [] : [{ part: 'user_exits', table: userExitsTable(userExits) }]),
    ...(guestExits === undefined ? [] : [{ part: 'guest_exits', table: guestExitsTable(guestExits) }]),
    ...(memoryFaults === undefined ? [] : [{ part: 'memory_faults', table: faultRateTable(memoryFaults) }]),
  ];
}

/**
 * All tables as one: the first column says which part a row is of, then come the columns of all parts by name. A cell whose
 * part has no such column is null.
 */
export function joinTables(parts: readonly PartTable[]): Table {
  const columns = new Map(parts.flatMap(({ table }) => table.columns.map((c) => [c.name, c] as const)));
  const names = [...columns.keys()];
  return {
    columns: [...texts('part'), ...columns.values()],
    rows: parts.flatMap(({ part, table }) => {
      const places = names.map((name) => table.columns.findIndex((c) => c.name === name));
      return table.rows.map((row) => [part, ...places.map((at) => (at < 0 ? null : row[at]!))]);
    }),
  };
}

/** One row a group and phase (`whole` first; `retry_wait` is a part of the commit). */
function conversionsTable({ by, groups }: LatencyReport): Table {
  return {
    columns: [...texts(...by, 'phase'), ...numbers('count', ...TIMES, 'pages', 'pages_per_s', 'exits_per_page')],
    rows: groups.flatMap((group) => {
      const row = (phase: string, s: Stats, ...rest: readonly CellValue[]): readonly CellValue[] => [
        ...group.key,
        phase,
        s.count,
        ...times(s),
        ...(rest.length === 0 ? [null, null, null] : rest),
      ];
      return [
        row('whole', group.whole, group.pages, rounded(group.pagesPerSecond, 3), rounded(group.exitsPerPage, 6)),
        ...group.phases.map((p) => row(p.phase, p)),
        ...(group.retryWait.count === 0 ? [] : [row('retry_wait', group.retryWait)]),
      ];
    }),
  };
}

/** One row a group and bucket that is not empty. */
function histogramTable({ by, groups }: LatencyReport): Table {
  return {
    columns: [...texts(...by), ...numbers('from_ns', 'to_ns', 'count')],
    rows: groups.flatMap(({ key, histogram }) =>
      histogram.map(({ index, count }) => [
        ...key,
        Math.round(bucketStart(index)),
        Math.round(bucketStart(index + 1)),
        count,
      ]),
    ),
  };
}

/** One row a conversion and phase, `whole` first; waits for the next try are of the phase before them. */
function slowestTable({ slowest }: LatencyReport): Table {
  const rowsOf = (slow: SlowConversion): readonly (readonly CellValue[])[] => {
    const head = [
      slow.id,
      slow.vm === null ? null : `vm${slow.vm}`,
      slow.vm === null || slow.vcpu === null ? null : `vm${slow.vm} vcpu${slow.vcpu}`,
      slow.direction,
      slow.gpa === null ? null : formatHex(slow.gpa),
      slow.size,
    ];
    const waits = slow.waits.map((wait) => ({ phase: 'retry_wait', ...wait }));
    return [
      [...head, 'whole', slow.requestNs, slow.latencyNs],
      ...[...slow.phases, ...waits].map((p) => [...head, p.phase, p.sinceNs, p.ns]),
    ];
  };
  return {
    columns: [
      ...numbers('id'),
      ...texts('vm', 'vcpu', 'direction'),
      ...numbers('gpa', 'size_bytes'),
      ...texts('phase'),
      ...numbers('since_ns', 'ns'),
    ],
    rows: slowest.flatMap(rowsOf),
  };
}

function leftOutTable({ leftOut }: LatencyReport): Table {
  return { columns: [...texts('reason'), ...numbers('count')], rows: leftOut.map((l) => [l.reason, l.count]) };
}

function sizesTable({ buckets }: Sizes): Table {
  return {
    columns: numbers('from_pages', 'to_pages', 'count', 'pages', 'mergeable'),
    rows: buckets.map((b) => [2 ** b.power, 2 ** (b.power + 1), b.count, b.pages, b.mergeable]),
  };
}

/** One row a VM and bucket with faults; times from the trace's start. */
function faultRateTable(rate: FaultRate | null): Table {
  return {
    columns: [...texts('vm'), ...numbers('from_ns', 'to_ns', 'count')],
    rows: (rate?.lines ?? []).flatMap(({ vm, counts }) =>
      counts.flatMap((count, k) =>
        count === 0 ? [] : [[vm === null ? null : `vm${vm}`, k * rate!.bucketNs, (k + 1) * rate!.bucketNs, count]],
      ),
    ),
  };
}
