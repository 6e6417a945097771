/**
 * What memory is before anybody converted it (reference chapter 03 B): a VM's attributes are all shared when it is
 * created; a guest_memfd is shared or private from creation, as its flags say. Told of memslots when they are bound.
 */
import { hasAttribute, hasShareability, withAttribute, withShareability } from './axes.js';
import { setState } from './requests.js';
import { lossesTillNow, type Binding, type Direction, type Replay, type VmState } from './state.js';

/** GUEST_MEMFD_FLAG_INIT_SHARED (include/uapi/linux/kvm.h, 7.2 and later). */
const INIT_SHARED = 2;
/** RFC v2 gave these bits other meanings: GUEST_MEMFD_FLAG_SUPPORT_SHARED, shared at first, unless _INIT_PRIVATE. */
const RFC2_SUPPORT_SHARED = 1;
const RFC2_INIT_PRIVATE = 2;

function has(flags: number, bit: number): boolean {
  return Math.floor(flags / bit) % 2 === 1;
}

/** The guest_memfd's own word at its creation; null where its flags are not known or only KVM's attributes count. */
function firstShareability({ sources }: Replay, flags: number): Direction | null {
  if (Number.isNaN(flags)) return null;
  const { inPlaceBy } = sources;
  const isShared =
    inPlaceBy === 'convert'
      ? has(flags, RFC2_SUPPORT_SHARED) && !has(flags, RFC2_INIT_PRIVATE)
      : has(flags, INIT_SHARED);
  if (isShared) return 'to_shared';
  // Out of place the file is private for life: which view is in use is KVM's attribute alone.
  return inPlaceBy === null ? null : 'to_private';
}

/** KVM_CREATE_VM's types of x86 whose guests have private memory (arch/x86/include/uapi/asm/kvm.h). */
const WITH_PRIVATE_MEMORY = [1, 4, 5];

/** Whether a change of KVM's attributes of this VM would have been seen, from its creation on. */
function showsAttributes({ sources, lossTimes }: Replay, { identity }: VmState): boolean {
  if (sources.isArm || !sources.attrEvents || sources.inPlaceBy !== null || lossTimes.length > 0) return false;
  return WITH_PRIVATE_MEMORY.includes(identity.type);
}

/** A memslot is bound: what nobody has set before is as it was made. `tid`: the thread that binds it. */
export function noteFirstState(replay: Replay, tid: number, { vm, fd, gpa, size, fromTs }: Binding): void {
  if (!vm) return;
  const losses = lossesTillNow(replay);
  const own = firstShareability(replay, replay.identity.fdOf(tid, fd, fromTs)?.record.flags ?? NaN);
  if (own !== null)
    setState(replay, vm, gpa, size, fromTs, (state) =>
      hasShareability(state) ? state : withShareability(state, own, 'inferred', losses),
    );
  else if (showsAttributes(replay, vm))
    setState(replay, vm, gpa, size, fromTs, (state) =>
      hasAttribute(state) ? state : withAttribute(state, 'to_shared', 'inferred', losses),
    );
}
