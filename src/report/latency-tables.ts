/** The latency report as flat tables, one a section (CSV, Markdown). Durations in ns. */
import { errorPercent, type GuestExits } from './exits/guest.js';
import type { UserExits } from './exits/user.js';
import type { FaultRate } from './fault-rate.js';
import type { LatencyReport } from './latency.js';
import type { LatencySections } from './latency-sections.js';
import { rounded, share } from './share.js';
import type { Sizes } from './sizes.js';
import type { Stats } from './stats.js';
import type { CellValue, Table } from './table.js';
import { numbers, texts } from './tables.js';

export interface TitledTable {
  readonly title: string;
  readonly table: Table;
}

const TIMES = ['min_ns', 'mean_ns', 'p50_ns', 'p90_ns', 'p99_ns', 'p99_9_ns', 'max_ns'];
const times = (s: Stats): readonly CellValue[] => [s.min, s.mean, s.p50, s.p90, s.p99, s.p999, s.max];

/** A table for each section of the report, in its order; a section that the trace cannot show has no rows. */
export function latencyTables(sections: LatencySections): readonly TitledTable[] {
  const { conversions, sizes, userExits, guestExits, memoryFaults } = sections;
  return [
    ...(conversions === undefined ? [] : [{ title: 'Conversions', table: conversionsTable(conversions) }]),
    ...(sizes === undefined ? [] : [{ title: 'Sizes', table: sizesTable(sizes) }]),
    ...(userExits === undefined ? [] : [{ title: 'Exits to userspace', table: userExitsTable(userExits) }]),
    ...(guestExits === undefined
      ? []
      : [{ title: `Exits from the guest: ${guestExits.event}`, table: guestExitsTable(guestExits) }]),
    ...(memoryFaults === undefined ? [] : [{ title: 'Memory faults', table: faultRateTable(memoryFaults) }]),
  ];
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

function sizesTable({ buckets }: Sizes): Table {
  return {
    columns: numbers('from_pages', 'to_pages', 'count', 'pages', 'mergeable'),
    rows: buckets.map((b) => [2 ** b.power, 2 ** (b.power + 1), b.count, b.pages, b.mergeable]),
  };
}

function userExitsTable(exits: UserExits | null): Table {
  return {
    columns: [...texts('reason'), ...numbers('vm', 'vcpu', 'count', 'timed', 'time_percent', ...TIMES)],
    rows: (exits?.lines ?? []).map((line) => [
      line.name,
      line.vm,
      line.vcpu,
      line.count,
      line.time.count,
      rounded(share(line.time.sum ?? 0, exits!.totalNs), 4),
      ...times(line.time),
    ]),
  };
}

/** The last rows count what has no partner. */
function guestExitsTable(exits: GuestExits): Table {
  const { samples, totalNs, unmatched } = exits;
  const columns = [
    ...texts('reason'),
    ...numbers('vm', 'vcpu', 'samples', 'samples_percent', 'time_percent', ...TIMES, 'stddev_ns', 'error_percent'),
  ];
  const loose = [
    ['(not followed by an entry)', unmatched.unended],
    ['(an end with no beginning)', unmatched.unbegun],
    ['(before the thread’s first entry)', unmatched.early],
  ] as const;
  return {
    columns,
    rows: [
      ...exits.lines.map((line) => [
        line.name,
        line.vm,
        line.vcpu,
        line.time.count,
        rounded(share(line.time.count, samples), 4),
        rounded(share(line.time.sum ?? 0, totalNs), 4),
        ...times(line.time),
        rounded(line.stddev, 0),
        rounded(errorPercent(line), 4),
      ]),
      ...loose.flatMap(([name, count]) =>
        count === 0 ? [] : [[name, null, null, count, ...Array.from({ length: columns.length - 4 }, () => null)]],
      ),
    ],
  };
}

/** One row a VM and bucket with faults; times from the trace's start. */
function faultRateTable(rate: FaultRate | null): Table {
  return {
    columns: numbers('vm', 'from_ns', 'to_ns', 'faults'),
    rows: (rate?.lines ?? []).flatMap(({ vm, counts }) =>
      counts.flatMap((count, k) => (count === 0 ? [] : [[vm, k * rate!.bucketNs, (k + 1) * rate!.bucketNs, count]])),
    ),
  };
}
