/** What kind of VM: by KVM_CREATE_VM's type, by pKVM's own events, else by the way its guest asks. */
import type { Replay, VmState } from './state.js';

/** Types of x86 (arch/x86/include/uapi/asm/kvm.h). */
const X86_TYPES: Readonly<Record<number, string>> = {
  0: 'plain',
  1: 'x86-sw-protected',
  2: 'sev',
  3: 'sev-es',
  4: 'snp',
  5: 'tdx',
};

/** KVM_VM_TYPE_ARM_PROTECTED (include/uapi/linux/kvm.h, 7.2 and later). */
const KVM_VM_TYPE_ARM_PROTECTED = 0x80000000;

/** Bits 11:8 of an arm64 VM's type: 1 = realm (KVM_VM_TYPE_ARM_REALM of the CCA series, v1 to v12; not upstream). */
export function isRealm({ sources }: Replay, { identity }: VmState): boolean {
  return sources.isArm && Math.floor(identity.type / 256) % 16 === 1;
}

/** Nothing tells what kind of arm64 VM it is: its making was not seen. */
export function mayBeRealm({ sources }: Replay, vm: VmState | null): boolean {
  return sources.isArm && (vm === null || (Number.isNaN(vm.identity.type) && vm.identity.isProtected === null));
}

/** SEV and SEV-ES guests tell by the same hypercall what may be migrated; no memory changes (reference chapter 01 §5). */
export function isSev({ sources }: Replay, vm: VmState | null): boolean {
  return !sources.isArm && (vm?.identity.type === 2 || vm?.identity.type === 3);
}

/** The name of the platform as the database has it, null where nothing tells. */
export function platformOf(replay: Replay, vm: VmState): string | null {
  const { type, isProtected } = vm.identity;
  if (isProtected !== null) return isProtected ? 'pkvm' : 'plain';
  if (!Number.isNaN(type)) {
    if (isRealm(replay, vm)) return 'cca';
    if (replay.sources.isArm) return type >= KVM_VM_TYPE_ARM_PROTECTED ? 'pkvm' : 'plain';
    return X86_TYPES[type] ?? null;
  }
  const { ways } = vm;
  if (ways.has('tdx-mapgpa')) return 'tdx';
  if (ways.has('snp-psc') || ways.has('snp-psc-msr')) return 'snp';
  if (ways.has('pkvm-hvc')) return 'pkvm';
  // The hypercall alone may be that of a SEV guest.
  const converts = vm.usesAttrEvents || vm.inPlace;
  if (ways.has('map-gpa-range') && replay.sources.hypercalls && converts) return 'x86-sw-protected';
  return null;
}
