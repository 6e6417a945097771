/** VMs, vCPUs, guest_memfds and their bindings, as the replay told them apart. */
import type { Store } from '../store/db.js';
import { big, bigOrNull, num, numOrNull, text, textOrNull } from './rows.js';

export interface VmSummary {
  readonly id: number;
  readonly platform: string | null;
  readonly pid: number | null;
  readonly comm: string | null;
  readonly how: string;
  readonly certainty: string;
  readonly vcpus: readonly { readonly index: number; readonly tid: number | null }[];
  readonly gmems: readonly number[];
  readonly conversions: number;
}

export interface BindingSummary {
  readonly slot: number | null;
  readonly gpa: bigint;
  readonly offset: bigint;
  /** null: its end is not known. */
  readonly size: bigint | null;
  readonly certainty: string;
}

export interface GmemSummary {
  readonly id: number;
  readonly vm: number | null;
  readonly inode: bigint | null;
  readonly size: bigint | null;
  readonly certainty: string;
  readonly bindings: readonly BindingSummary[];
}

/** Reads all identities, ordered by their ids. */
export async function readIdentity(
  store: Store,
): Promise<{ readonly vms: readonly VmSummary[]; readonly gmems: readonly GmemSummary[] }> {
  const gmems = await readGmems(store);
  const vms = await store.rows(`
    SELECT vm.*, (SELECT count(*) FROM conversion c WHERE c.vm_id = vm.vm_id) AS conversions FROM vm ORDER BY vm_id`);
  const vcpus = await store.rows('SELECT DISTINCT vm_id, vcpu, tid FROM vcpu ORDER BY vm_id, vcpu, tid NULLS LAST');
  return {
    gmems,
    vms: vms.map((row) => {
      const id = num(row, 'vm_id');
      return {
        id,
        platform: textOrNull(row, 'platform'),
        pid: numOrNull(row, 'pid'),
        comm: textOrNull(row, 'comm'),
        how: text(row, 'how'),
        certainty: text(row, 'certainty'),
        vcpus: vcpus
          .filter((v) => numOrNull(v, 'vm_id') === id)
          .map((v) => ({ index: num(v, 'vcpu'), tid: numOrNull(v, 'tid') })),
        gmems: gmems.filter((g) => g.vm === id).map((g) => g.id),
        conversions: num(row, 'conversions'),
      };
    }),
  };
}

async function readGmems(store: Store): Promise<readonly GmemSummary[]> {
  const gmems = await store.rows('SELECT * FROM gmem ORDER BY gmem_id');
  const bindings = await store.rows(
    'SELECT * FROM binding ORDER BY gmem_id NULLS LAST, from_ns NULLS FIRST, slot NULLS LAST, gpa, "offset"',
  );
  return gmems.map((row) => {
    const id = num(row, 'gmem_id');
    return {
      id,
      vm: numOrNull(row, 'vm_id'),
      inode: bigOrNull(row, 'inode'),
      size: bigOrNull(row, 'size'),
      certainty: text(row, 'certainty'),
      bindings: bindings
        .filter((b) => numOrNull(b, 'gmem_id') === id)
        .map((b) => ({
          slot: numOrNull(b, 'slot'),
          gpa: big(b, 'gpa'),
          offset: big(b, 'offset'),
          size: bigOrNull(b, 'size'),
          certainty: text(b, 'certainty'),
        })),
    };
  });
}
