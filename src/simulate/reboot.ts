/** A guest reboots: how it shows, everybody out of the guest, and what its VMM does (reference 03, "Boot epochs"). */
import { raise, waitFor } from './host.js';
import { emit } from './host.js';
import type { Flow } from './host.js';
import type { Vcpu } from './model.js';
import { callRun, enterGuest, EXIT, exitToUser, leaveGuest } from './run.js';
import type { Truth } from './truth.js';

/** PSCI SYSTEM_RESET and the type of the system event that it makes. */
const PSCI_SYSTEM_RESET = 0x84000009;
const KVM_SYSTEM_EVENT_RESET = 2;

/** Begins in the old guest and ends in the new one; gives what the truth keeps of it. */
export function* reboot(vcpu: Vcpu): Flow<Truth['reboots'][number]> {
  const { vm } = vcpu;
  const { how, at } = yield* askForReset(vcpu);
  const record = { vm: vm.id, t_ns: at, reset: vm.world.options.reset, how, faults: 0 };
  vm.world.truth.reboots.push(record);
  const { generation } = vm;
  vm.isResetting = true;
  raise(vm.changed);
  yield* waitFor(vm.changed, () => vm.parked === vm.vcpus.length - 1);
  vm.wantsReset = true;
  raise(vm.changed);
  yield* waitFor(vm.changed, () => vm.generation > generation);
  yield* callRun(vcpu);
  yield* enterGuest(vcpu);
  return record;
}

function* askForReset(vcpu: Vcpu): Flow<{ readonly how: string; readonly at: number }> {
  const { task, vm, random } = vcpu;
  if (vm.world.isArm) {
    yield* leaveGuest(vcpu, 'hypercall');
    yield* emit(task, 'kvm_hvc_arm64', { vcpu_pc: vcpu.rip, r0: PSCI_SYSTEM_RESET, imm: 0 });
    const at = yield* exitToUser(vcpu, EXIT.SYSTEM_EVENT, { u: [KVM_SYSTEM_EVENT_RESET, 0, 0, 0] });
    return { how: 'PSCI SYSTEM_RESET', at };
  }
  if (vm.world.options.platform === 'x86-sw' && random.chance(0.5)) {
    yield* leaveGuest(vcpu, 'io');
    yield* emit(task, 'kvm_pio', { rw: 1, port: 0xcf9, size: 1, count: 1, val: 6 });
    const at = yield* exitToUser(vcpu, EXIT.IO, { u: [0x10cf90101, 0x1000, 0, 0] });
    return { how: 'cf9', at };
  }
  yield* leaveGuest(vcpu, 'shutdown');
  return { how: 'shutdown', at: yield* exitToUser(vcpu, EXIT.SHUTDOWN) };
}
