/** Exits as flat tables. Durations in ns; VMs and vCPUs by their handles, as groups of conversions have them. */
import { rounded, share } from '../share.js';
import { TIMES, times } from '../stats.js';
import type { CellValue, Table } from '../table.js';
import { numbers, texts } from '../tables.js';
import { errorPercent, type GuestExits } from './guest.js';
import type { UserExits } from './user.js';

interface Owned {
  readonly vm: number | null;
  readonly vcpu: number | null;
}

/** `vm1` and `vm1 vcpu0`, as far as lines are split by them. */
const owner = ({ vm, vcpu }: Owned, by: readonly string[]): readonly CellValue[] =>
  by.map((name) => (vm === null ? null : name === 'vm' ? `vm${vm}` : vcpu === null ? null : `vm${vm} vcpu${vcpu}`));

/** One row a reason; `timed` are those whose end was seen. */
export function userExitsTable(exits: UserExits | null): Table {
  const by = exits?.by ?? [];
  return {
    columns: [...texts(...by, 'reason'), ...numbers('count', 'timed', 'time_percent', ...TIMES)],
    rows: (exits?.lines ?? []).map((line) => [
      ...owner(line, by),
      line.name,
      line.count,
      line.time.count,
      rounded(share(line.time.sum ?? 0, exits!.totalNs), 4),
      ...times(line.time),
    ]),
  };
}

/** One row a reason; the last ones count what has no partner, and samples over a loss. */
export function guestExitsTable(exits: GuestExits): Table {
  const { by, samples, totalNs, unmatched } = exits;
  const figures = ['samples', 'samples_percent', 'time_percent', ...TIMES, 'stddev_ns', 'error_percent'];
  const loose = [
    ['(not followed by an entry)', unmatched.unended],
    ['(an end with no beginning)', unmatched.unbegun],
    ['(before the thread’s first entry)', unmatched.early],
    ['(of these samples: events lost in between)', unmatched.overLoss],
  ] as const;
  return {
    columns: [...texts(...by, 'reason'), ...numbers(...figures)],
    rows: [
      ...exits.lines.map((line) => [
        ...owner(line, by),
        line.name,
        line.time.count,
        rounded(share(line.time.count, samples), 4),
        rounded(share(line.time.sum ?? 0, totalNs), 4),
        ...times(line.time),
        rounded(line.stddev, 0),
        rounded(errorPercent(line), 4),
      ]),
      ...loose.flatMap(([name, count]) =>
        count === 0 ? [] : [[...by.map(() => null), name, count, ...figures.slice(1).map(() => null)]],
      ),
    ],
  };
}
