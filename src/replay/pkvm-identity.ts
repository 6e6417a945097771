/**
 * Which VM an event of the hypervisor is about. Host probes tie handles to VMs (identity.ts); where they were not
 * recorded, the vCPU thread does whose guest exit the hypervisor handles.
 */
import { KIND } from './kinds.js';
import type { MemoryEvent } from './event.js';
import { stateOf, type Replay, type VmState } from './state.js';

/** KVM_VM_TYPE_ARM_PROTECTED (include/uapi/linux/kvm.h, 7.2 and later): bit 31 of the type. */
const ARM_PROTECTED = 0x80000000;

/** Whether the VM is known to be a protected one. */
export function isProtectedVm(vm: VmState | null): vm is VmState {
  if (vm === null) return false;
  const { isProtected, type } = vm.identity;
  return isProtected ?? type >= ARM_PROTECTED;
}

/** Whether the VM is known to be a plain one. */
export function isPlainVm(vm: VmState | null): boolean {
  return vm !== null && (vm.identity.isProtected === false || vm.identity.type < ARM_PROTECTED);
}

/** EL2 may have run the thread outside the host's recording: of its process alone nothing follows. */
function vmOfVcpuThread(replay: Replay, tid: number | undefined, ts: number): VmState | null {
  return tid === undefined ? null : stateOf(replay, replay.identity.vmOfVcpuThread(tid, ts));
}

/**
 * The VM of a hypervisor event with a handle, null where nothing tells. A guest's call tells for sure; the host's own
 * calls are presumed to be about the guest that ran last on their CPU until one did.
 */
export function vmOfHypEvent(replay: Replay, ev: MemoryEvent): VmState | null {
  const { exits, handles, lastGuest } = replay.pkvm;
  const byHandle = stateOf(replay, replay.identity.vmOfHandle(ev.extra, ev.ts));
  if (byHandle) return byHandle;
  const byThread = vmOfVcpuThread(replay, exits.get(ev.cpu)?.tid, ev.ts);
  if (byThread) {
    handles.set(ev.extra, byThread);
    return byThread;
  }
  const known = handles.get(ev.extra);
  if (known || ev.kind !== KIND.hyp_donate) return known ?? null;
  return vmOfVcpuThread(replay, lastGuest.get(ev.cpu), ev.ts);
}
