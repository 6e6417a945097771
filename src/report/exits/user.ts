/** Exits to userspace by reason and the time until the VMM called KVM_RUN again. */
import type { Store } from '../../store/db.js';
import { readEventTypes } from '../events/types.js';
import { num, numOrNull } from '../rows.js';
import { readStats, statsSql, type Stats } from '../stats.js';
import { userExitNames } from './names.js';

export interface UserExitLine {
  /** `HYPERCALL`, `MEMORY_FAULT (EFAULT)`, `restart (EINTR)`. */
  readonly name: string;
  /** null: not split by it, or not known. */
  readonly vm: number | null;
  readonly vcpu: number | null;
  /** All of them; `time.count` are those whose end was seen. */
  readonly count: number;
  readonly time: Stats;
}

export interface UserExits {
  readonly by: readonly ('vm' | 'vcpu')[];
  readonly lines: readonly UserExitLine[];
  /** Sum of all times, ns. */
  readonly totalNs: number;
}

/** Reads the exits to userspace, the most frequent first. null: kvm_userspace_exit was not recorded. */
export async function readUserExits(store: Store, by: readonly ('vm' | 'vcpu')[]): Promise<UserExits | null> {
  const types = await readEventTypes(store);
  if (!(await wasRecorded(store))) return null;
  const keys = ['reason', 'errno', ...by.map((name) => (name === 'vm' ? 'vm_id' : 'vcpu'))].join(', ');
  // With an error the reason is a leftover of the exit before: only that of a memory fault means something.
  const rows = await store.rows(`
    SELECT ${keys}, count(*) AS n, ${statsSql('duration_ns')}
    FROM (SELECT vm_id, vcpu, duration_ns, CASE WHEN errno > 0 AND reason <> 39 THEN NULL ELSE reason END AS reason, errno
      FROM exit WHERE level = 'userspace')
    GROUP BY ${keys} ORDER BY ${[...by.map((name) => `${name === 'vm' ? 'vm_id' : 'vcpu'} NULLS LAST`), 'n DESC', 'reason', 'errno'].join(', ')}`);
  const nameOf = userExitNames(types);
  const lines = rows.map((row) => ({
    name: nameOf(numOrNull(row, 'reason'), numOrNull(row, 'errno')),
    vm: by.includes('vm') ? numOrNull(row, 'vm_id') : null,
    vcpu: by.includes('vcpu') ? numOrNull(row, 'vcpu') : null,
    count: num(row, 'n'),
    time: readStats(row),
  }));
  return { by, lines, totalNs: lines.reduce((sum, line) => sum + (line.time.sum ?? 0), 0) };
}

async function wasRecorded(store: Store): Promise<boolean> {
  const [row] = await store.rows(`
    SELECT EXISTS (SELECT 1 FROM event_type WHERE system = 'kvm' AND name = 'kvm_userspace_exit' AND rows > 0)
      OR EXISTS (SELECT 1 FROM trace WHERE list_contains(enabled_events, 'kvm:kvm_userspace_exit')) AS recorded`);
  return row?.['recorded'] === true;
}
