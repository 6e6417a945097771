/** Names of exits: those to userspace as the uAPI has them, those of the guest as the kernel prints them. */
import type { Store } from '../../store/db.js';
import { readEventLines } from '../events/read.js';
import { errnoName } from '../errno.js';
import { big, num, text } from '../rows.js';

/** KVM_EXIT_* by number: include/uapi/linux/kvm.h (v7.3), without the prefix. */
const KVM_EXITS: readonly string[] = [
  'UNKNOWN EXCEPTION IO HYPERCALL DEBUG HLT MMIO IRQ_WINDOW_OPEN SHUTDOWN FAIL_ENTRY INTR SET_TPR TPR_ACCESS S390_SIEIC',
  'S390_RESET DCR NMI INTERNAL_ERROR OSI PAPR_HCALL S390_UCONTROL WATCHDOG S390_TSCH EPR SYSTEM_EVENT S390_STSI IOAPIC_EOI',
  'HYPERV ARM_NISV X86_RDMSR X86_WRMSR DIRTY_RING_FULL AP_RESET_HOLD X86_BUS_LOCK XEN RISCV_SBI RISCV_CSR NOTIFY',
  'LOONGARCH_IOCSR MEMORY_FAULT TDX',
].flatMap((line) => line.split(' '));

/** `KVM_EXIT_MMIO`, or the bare number of one that is newer; `EFAULT` of a label as USER_EXIT_LABEL makes them. */
export function userExitName(label: string): string {
  const [number, isErrno] = [Number(label.replace('errno ', '')), label.startsWith('errno ')];
  if (isErrno) return errnoName(number);
  const name = KVM_EXITS[number];
  return name === undefined ? `exit ${label}` : `KVM_EXIT_${name}`;
}

/** SQL over the view exit: where KVM_RUN fails, texts of the event hold its errno and no reason, so that the errno it is. */
export const USER_EXIT_LABEL = `CASE WHEN errno <> 0 THEN concat('errno ', errno) ELSE reason::VARCHAR END`;

/** The event kvm_exit says `reason npf` on x86, `TRAP: HSR_EC: 0x0024 (DABT_LOW)` and `IRQ: HSR_EC: 0x0000 (UNKNOWN)` on arm64. */
const PRINTED = /\breason (\S+)|\bTRAP: HSR_EC: 0x[0-9a-f]+ \((\w+)\)|\b(\w+): HSR_EC:/;

/**
 * `SQL expression of the label` → name of each guest exit, taken from the text of one such event; where it prints none,
 * the label stays.
 */
export async function readGuestExitNames(store: Store): Promise<ReadonlyMap<string, string>> {
  const rows = await store.rows(`
    SELECT ${GUEST_EXIT_LABEL} AS label, trace_id, cpu, seq, ts_ns FROM exit WHERE level = 'guest' AND label IS NOT NULL
    QUALIFY row_number() OVER (PARTITION BY label ORDER BY ts_ns, cpu, seq) = 1 ORDER BY label`);
  const keys = rows.map((row) => ({
    traceId: num(row, 'trace_id'),
    cpu: num(row, 'cpu'),
    seq: big(row, 'seq'),
    tsNs: big(row, 'ts_ns'),
  }));
  const lines = keys.length === 0 ? [] : await readEventLines(store, keys);
  return new Map(
    rows.map((row, k) => {
      const label = text(row, 'label');
      const [, x86, trap, other] = PRINTED.exec(lines[k]?.text ?? '') ?? [];
      return [label, x86 ?? trap ?? other ?? label];
    }),
  );
}

/**
 * SQL over the view exit: `svm 1024`, `vmx 48` (isa is KVM_ISA_VMX 1, KVM_ISA_SVM 2); arm64 has one set of classes, and
 * `ret 0` for what is no trap. NULL: nobody knows why.
 */
export const GUEST_EXIT_LABEL = `CASE WHEN reason IS NOT NULL THEN concat(CASE isa WHEN 1 THEN 'vmx ' WHEN 2 THEN 'svm ' ELSE '' END, reason)
  WHEN ret IS NOT NULL THEN concat('ret ', ret) END`;
