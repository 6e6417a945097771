/** The guest_memfds of the analysis: from their creation, their bindings, and what probes and punches name. */
import type { Certainty } from './identity.js';
import type { Facts } from './facts.js';
import { stateOf, type Binding, type Replay, type VmState } from './state.js';

export interface Gmem {
  readonly id: number;
  readonly vm: VmState | null;
  inode: number;
  readonly fd: number;
  readonly size: number;
  readonly flags: number;
  readonly fromTs: number;
  readonly how: string;
  certainty: Certainty;
}

export interface GmemIndex {
  readonly all: readonly Gmem[];
  /**
   * By inode (where several had the number one after the other: the VM's, else the one of that time), else by VM and
   * descriptor, else the only one of the VM; null where it cannot be told.
   */
  of(inode: number, vm: VmState | null, fd: number, ts?: number): Gmem | null;
  /** The only one of the VM; null where it has none or several. */
  onlyOf(vm: VmState | null): Gmem | null;
}

function created(replay: Replay, facts: Facts): Omit<Gmem, 'id'>[] {
  return facts.fds.flatMap((record) => {
    if (record.what !== 'gmem') return [];
    const found = replay.identity.fdOf(record.tid, record.fd, record.ts);
    if (found?.record !== record) return [];
    const vm = stateOf(replay, found.vm);
    const binding = replay.bindings.find(
      (b) => b.fd === record.fd && !Number.isNaN(b.inode) && b.fromTs >= record.ts && b.vm === vm,
    );
    const { fd, size, flags, ts } = record;
    const base = { vm, inode: binding?.inode ?? NaN, fd, size, flags, fromTs: ts };
    return [{ ...base, how: 'KVM_CREATE_GUEST_MEMFD', certainty: 'observed' as const }];
  });
}

/** A file belongs to one VM for life: under another, after the end of the first, the number is another file's. */
function isSameFile(replay: Replay, gmem: Omit<Gmem, 'id'>, vm: VmState | null, ts: number): boolean {
  if (gmem.vm === vm || gmem.vm === null || vm === null) return true;
  const { goneTs, endTs } = gmem.vm.identity;
  const released = replay.released.get(gmem.inode) ?? NaN;
  return !(goneTs <= ts) && !(endTs <= ts) && !(released <= ts);
}

/** Collects them; numbers are given in order of appearance. */
export function collectGmems({ replay, facts }: { replay: Replay; facts: Facts }): GmemIndex {
  const found = created(replay, facts);
  const byInode = new Map<number, Omit<Gmem, 'id'>[]>();
  for (const gmem of found) listOf(byInode, gmem.inode).push(gmem);
  const seen = (inode: number, vm: VmState | null, ts: number, how: string, certainty: Certainty): void => {
    if (Number.isNaN(inode)) return;
    const same = listOf(byInode, inode);
    if (same.some((g) => isSameFile(replay, g, vm, ts))) return;
    // A descriptor without inode that may well be this one: creation showed the file, this shows its number.
    const nameless = found.filter((g) => g.vm === vm && Number.isNaN(g.inode));
    if (vm && nameless.length === 1 && found.filter((g) => g.vm === vm).length === 1) {
      nameless[0]!.inode = inode;
      nameless[0]!.certainty = replay.lossTimes.length > 0 ? 'assumed' : 'inferred';
      same.push(nameless[0]!);
      return;
    }
    const made = { vm, inode, fd: NaN, size: NaN, flags: NaN, fromTs: ts, how, certainty };
    same.push(made);
    found.push(made);
  };
  for (const b of replay.bindings) seen(b.inode, b.vm, b.fromTs, b.how, b.certainty);
  for (const row of replay.conversions) seen(row.inode, row.vm, row.requestNs, 'probe on its attributes', 'observed');
  for (const p of replay.punches) seen(p.inode, p.vm, p.startNs, 'punch', p.certainty);
  return indexGmems(
    found.map((g, index) => ({ ...g, id: index + 1 })),
    replay.bindings,
  );
}

/** VMs whose memslots were bound by several descriptors: they have several files, seen or not. */
function findSeveral(bindings: readonly Binding[]): ReadonlySet<VmState> {
  const descriptorOf = new Map<VmState, number>();
  const several = new Set<VmState>();
  for (const { vm, fd } of bindings) {
    if (vm === null || Number.isNaN(fd)) continue;
    if ((descriptorOf.get(vm) ?? fd) !== fd) several.add(vm);
    descriptorOf.set(vm, fd);
  }
  return several;
}

function listOf<K, T>(lists: Map<K, T[]>, key: K): T[] {
  let list = lists.get(key);
  if (!list) lists.set(key, (list = []));
  return list;
}

function indexGmems(all: readonly Gmem[], bindings: readonly Binding[]): GmemIndex {
  const several = findSeveral(bindings);
  const byInode = new Map<number, Gmem[]>();
  const byVm = new Map<VmState, Gmem[]>();
  for (const gmem of all) {
    if (!Number.isNaN(gmem.inode)) listOf(byInode, gmem.inode).push(gmem);
    if (gmem.vm !== null) listOf(byVm, gmem.vm).push(gmem);
  }
  const onlyOf = (vm: VmState | null): Gmem | null => {
    const mine = vm === null || several.has(vm) ? undefined : byVm.get(vm);
    return mine?.length === 1 ? mine[0]! : null;
  };
  return {
    all,
    onlyOf,
    of(inode, vm, fd, ts = Infinity) {
      const named = byInode.get(inode) ?? [];
      const ofVm = vm === null ? undefined : named.find((g) => g.vm === vm);
      const byNumber = ofVm ?? named.findLast((g) => g.fromTs <= ts) ?? named[0];
      if (byNumber) return byNumber;
      const byFd = vm === null || Number.isNaN(fd) ? undefined : byVm.get(vm)?.findLast((g) => g.fd === fd);
      const only = byFd ?? onlyOf(vm);
      // Another descriptor than that of its creation may be another file.
      return only && !(only.fd !== fd && !Number.isNaN(only.fd) && !Number.isNaN(fd)) ? only : null;
    },
  };
}
