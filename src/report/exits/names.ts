/** What exits are called: by the print fmt that the trace brought, else by their number. */
import { compileSymbol, type FieldGetter } from '../../parse/print-fmt/index.js';
import { errnoName } from '../errno.js';
import type { EventType } from '../events/types.js';

/** ARM_EXCEPTION_TRAP: the exception class (esr_ec) says more (arch/arm64/include/asm/kvm_asm.h). */
export const ARM_EXCEPTION_TRAP = 2;

/** arch/x86/include/uapi/asm/vmx.h: VMX_EXIT_REASONS_FAILED_VMENTRY. */
const FAILED_VMENTRY = 0x80000000;

/** How an exit from the guest is told: x86 has an exit reason, arm64 a return code and an exception class. */
export interface ExitKey {
  /** exit_reason; of arm64 esr_ec where `info` is ARM_EXCEPTION_TRAP, else ret. */
  readonly key: number | null;
  /** isa (1 = VMX, 2 = SVM); of arm64 ret. */
  readonly info: number | null;
  readonly isArm: boolean;
}

type Symbol = (get: FieldGetter) => string;

function symbolOf(types: readonly EventType[], name: string, field: string): Symbol | null {
  for (const type of types) {
    if (type.system !== 'kvm' || type.name !== name || type.printFmt === null) continue;
    const symbol = compileSymbol(type.printFmt, type.fields, field);
    if (symbol !== null) return symbol;
  }
  return null;
}

const hex = (value: number): string => `0x${value.toString(16)}`;

function named(symbol: Symbol | null, field: string, value: number, isa = 0): string {
  if (symbol === null) return hex(value);
  return symbol((name) => (name === field ? BigInt(value) : name === 'isa' ? BigInt(isa) : 0n));
}

/** Names of kvm_exit's reasons: `npf`, `EPT_VIOLATION`, `DABT_LOW`, `IRQ`; the number in hex where it has no name. */
export function exitNames(types: readonly EventType[]): (exit: ExitKey) => string {
  const reason = symbolOf(types, 'kvm_exit', 'exit_reason');
  const ret = symbolOf(types, 'kvm_exit', 'ret');
  const trap = symbolOf(types, 'kvm_exit', 'esr_ec');
  return ({ key, info, isArm }) => {
    if (key === null) return 'unknown';
    if (isArm) return info === ARM_EXCEPTION_TRAP ? named(trap, 'esr_ec', key) : named(ret, 'ret', key);
    const failed = info === 1 && key >= FAILED_VMENTRY;
    return failed
      ? `${named(reason, 'exit_reason', key - FAILED_VMENTRY, 1)} (failed entry)`
      : named(reason, 'exit_reason', key, info ?? 0);
  };
}

/** Reasons that the kernel's own table of names lacks (include/uapi/linux/kvm.h, 7.3; the last of the in-place series). */
const LATER_REASONS: Readonly<Record<number, string>> = {
  31: 'DIRTY_RING_FULL',
  32: 'AP_RESET_HOLD',
  33: 'X86_BUS_LOCK',
  34: 'XEN',
  35: 'RISCV_SBI',
  36: 'RISCV_CSR',
  37: 'NOTIFY',
  38: 'LOONGARCH_IOCSR',
  39: 'MEMORY_FAULT',
  40: 'TDX',
  41: 'ARM_SEA',
  44: 'UNSHARE',
};

const EINTR = 4;
const EXIT_MEMORY_FAULT = 39;

/**
 * Names of exits to userspace by reason and errno (positive, 0 = success; null: the trace does not tell). With an error
 * run->exit_reason is a leftover, unless it is a memory fault: KVM_RUN fails by EFAULT or EHWPOISON then.
 */
export function userExitNames(types: readonly EventType[]): (reason: number | null, errno: number | null) => string {
  const symbol = symbolOf(types, 'kvm_userspace_exit', 'reason');
  return (reason, errno) => {
    if (errno === EINTR) return 'restart (EINTR)';
    const failed = errno === null || errno <= 0 ? '' : ` (${errnoName(errno)})`;
    if (failed !== '' && reason !== EXIT_MEMORY_FAULT) return `error${failed}`;
    if (reason === null) return 'unknown';
    const name = LATER_REASONS[reason] ?? named(symbol, 'reason', reason).replace(/^KVM_EXIT_/, '');
    return `${name}${failed}`;
  };
}
