/**
 * Which VM a handle of the pKVM hypervisor is, and when: a handle is used again by the next VM (reserve_vm_handle,
 * arch/arm64/kvm/hyp/nvhe/pkvm.c). The host's probes name struct kvm and handle together, EL2's own events when a
 * handle's VM was made and taken down; the two recordings need not cover the same time.
 */
import type { HandleRecord, HypVmRecord } from './facts.js';

/** `what` of EL2's event of a VM. */
export const HYP_VM = { made: 0, ending: 1, ended: 2 } as const;

/** One VM's time under a handle as EL2 told it, ns; `from` is NaN where its making was not seen, `to` where its end was not. */
interface Life {
  readonly handle: number;
  readonly from: number;
  to: number;
}

function livesOf(records: readonly HypVmRecord[]): readonly Life[] {
  const lives: Life[] = [];
  const open = new Map<number, Life>();
  const begin = (handle: number, from: number): Life => {
    const life = { handle, from, to: NaN };
    lives.push(life);
    open.set(handle, life);
    return life;
  };
  for (const { handle, what, ts } of records) {
    const life = open.get(handle);
    if (what === HYP_VM.made) {
      if (life) life.to = ts;
      begin(handle, ts);
    } else if (what === HYP_VM.ended) {
      (life ?? begin(handle, NaN)).to = ts;
      open.delete(handle);
    }
  }
  return lives;
}

const holds = (life: Life, ts: number): boolean => !(life.from > ts) && !(life.to < ts);

/** Makes the function that tells the record of a handle at `ts` (ns), null where none is known to be of that VM. */
export function makeHandles(
  records: readonly HandleRecord[],
  hypVms: readonly HypVmRecord[],
): (handle: number, ts: number) => HandleRecord | null {
  const lives = livesOf(hypVms);
  // The host's probe is at the call that makes the VM, so a little before EL2 says that it did.
  const lifeOf = (record: HandleRecord): Life | undefined =>
    lives.find((life) => life.handle === record.handle && !(life.to < record.ts));
  return (handle, ts) => {
    const mine = records.filter((record) => record.handle === handle);
    const before = mine.findLast((record) => record.ts <= ts && !(record.endTs < ts));
    const life = lives.find((candidate) => candidate.handle === handle && holds(candidate, ts));
    if (!life) return before ?? null;
    // Who had the handle before the host's recording began, only a making that EL2 saw tells.
    if (Number.isNaN(life.from)) return before && lifeOf(before) === life ? before : null;
    return mine.findLast((record) => lifeOf(record) === life) ?? null;
  };
}
