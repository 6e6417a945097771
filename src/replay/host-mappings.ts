/** What is kept of the host's own mappings of guest_memfds, and of faults on them (host-faults.ts). */
import type { VmIdentity } from './identity.js';

interface Mapping {
  readonly process: number;
  readonly vm: VmIdentity | null;
  readonly fd: number;
  readonly hva: number;
  readonly size: number;
  readonly offset: number;
}

export interface HostFaults {
  /** mmap() of a guest_memfd that a thread is in. */
  readonly mapping: Map<number, Omit<Mapping, 'hva'>>;
  readonly mappings: Mapping[];
  /** Last fault of each thread: its address, or by the probe its page. */
  readonly last: Map<number, { hva: number; inode: number; offset: number; ts: number }>;
}

export function makeHostFaults(): HostFaults {
  return { mapping: new Map(), mappings: [], last: new Map() };
}
