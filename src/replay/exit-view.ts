/** The view `exit`: exits from the guest and to userspace with the time until they were handled. */
import type { Store } from '../store/db.js';
import { KVM_RUN } from './facts.js';
import { KIND } from './kinds.js';

/** Query of the vCPU that a thread ran, where it ran one VM only: tid, vm_id, vcpu. */
export const OWNERS_SQL =
  'SELECT tid, min(vm_id) AS vm_id, min(vcpu) AS vcpu FROM vcpu GROUP BY tid HAVING count(DISTINCT vm_id) = 1';

/**
 * A guest exit is handled when its vCPU enters the guest again, an exit to userspace when its thread calls KVM_RUN again
 * (or enters the guest, where system calls are not recorded). end_ns is NULL where that was not seen: such exits are
 * counted, not skipped. `reason` of arm64 is the exception class of a trap; what else ended the guest's run `ret` tells
 * (0 interrupt, 1 SError, 3 illegal state: arch/arm64/include/asm/kvm_asm.h). A view, because most analyses do not ask for it and it is as large as the trace.
 */
export async function createExitView(store: Store): Promise<void> {
  const { guest_exit, guest_entry, user_exit, ioctl_enter } = KIND;
  await store.run(`
    CREATE OR REPLACE VIEW exit AS
    WITH edges AS (
      SELECT e.*, lead(kind) OVER w AS next_kind, lead(ts_ns) OVER w AS next_ns
      FROM memory_event e
      WHERE kind IN (${guest_exit}, ${guest_entry}, ${user_exit}) OR (kind = ${ioctl_enter} AND value = ${KVM_RUN})
      WINDOW w AS (PARTITION BY trace_id, tid ORDER BY ts_ns, cpu, seq)
    ), guest_edges AS (
      SELECT e.*, lead(kind) OVER w AS next_kind, lead(ts_ns) OVER w AS next_ns
      FROM memory_event e WHERE kind IN (${guest_exit}, ${guest_entry})
      WINDOW w AS (PARTITION BY trace_id, tid ORDER BY ts_ns, cpu, seq)
    ), exits AS (
      SELECT trace_id, tid, cpu, seq, ts_ns, 'guest' AS level, value AS reason, extra AS isa, result AS ret, NULL AS errno,
        CASE WHEN next_kind = ${guest_entry} THEN next_ns END AS end_ns
      FROM guest_edges WHERE kind = ${guest_exit}
      UNION ALL
      SELECT trace_id, tid, cpu, seq, ts_ns, 'userspace', value, NULL, NULL, -result,
        CASE WHEN next_kind IN (${ioctl_enter}, ${guest_entry}) THEN next_ns END
      FROM edges WHERE kind = ${user_exit}
    ), owners AS (${OWNERS_SQL})
    SELECT x.trace_id, o.vm_id, o.vcpu, x.tid, x.cpu, x.seq, x.level, CAST(x.reason AS BIGINT) AS reason,
      CAST(x.isa AS INTEGER) AS isa, CAST(x.ret AS INTEGER) AS ret, CAST(x.errno AS INTEGER) AS errno, x.ts_ns, x.end_ns, x.end_ns - x.ts_ns AS duration_ns
    FROM exits x LEFT JOIN owners o USING (tid)`);
}
