/** Figures that this recording cannot give, and what to record for them: a count that never shows is not zero. */
import type { Store } from '../store/db.js';
import { FIGURES, PKVM_CONVERSIONS, type Figure } from './figures.js';
import { readEventTables } from './memory-events.js';
import { platformOf } from './platforms.js';
import { guessProbeFunction } from './probe-names.js';
import type { Replay } from './state.js';
import { writeTable, type Tables } from './result-tables.js';

/** Tracepoints and probes that came, as sources: `event kvm.kvm_exit`, `probe kvm_gmem_bind`. */
async function readSeen(store: Store): Promise<Set<string>> {
  const tables = await readEventTables(store);
  return new Set(
    tables.map(({ system, name, fields, probeFn, isReturn }) => {
      const fn = isReturn === null ? null : (probeFn ?? guessProbeFunction(name, fields, isReturn));
      return fn === null ? `event ${system}.${name}` : `${isReturn ? 'retprobe' : 'probe'} ${fn}`;
    }),
  );
}

/** Events that the traces say were enabled, whether or not one came; null where a trace does not say. */
async function readEnabled(store: Store): Promise<Set<string>> {
  const rows = await store.rows(
    'SELECT DISTINCT unnest(enabled_events) AS event FROM trace WHERE enabled_events IS NOT NULL ORDER BY event',
  );
  return new Set(rows.map((r) => r['event'] as string));
}

/**
 * A protected guest's calls are handled at EL2: without events there that name the page nobody knows what it shared.
 * Where the guest's unshares exit to userspace (unshare-exits.ts) they are seen.
 */
function pkvmGap(replay: Replay): Figure | null {
  const isProtected = replay.vms.some((vm) => platformOf(replay, vm) === 'pkvm');
  if (!isProtected || replay.sources.hypPages || replay.pkvm.unshareRows.length > 0) return null;
  const count = replay.pkvm.answeredAtEl2;
  const possible = count > 0 ? `; ${count} guest exits were answered at EL2 and may have been such calls` : '';
  return {
    what: PKVM_CONVERSIONS,
    sources: [],
    missing: `a protected guest shares and unshares at EL2, and no event of the hypervisor names the page${possible}`,
    record: 'remotes/hypervisor of a kernel whose hypervisor traces guest share and unshare calls',
  };
}

/**
 * The RMM answers a realm's calls; what reaches KVM ends in an exit for a memory fault. No tracepoint names the range; a
 * probe on KVM_RUN's start shows it.
 */
function realmGap(replay: Replay): Figure | null {
  if (!replay.vms.some((vm) => platformOf(replay, vm) === 'cca')) return null;
  return {
    what: 'cca-ripas',
    sources: ['probe kvm_arch_vcpu_ioctl_run'],
    missing:
      'a realm’s RIPAS changes are seen only as exits and by the ioctl that answers them; calls that the RMM answers itself are not seen',
    record: 'a probe on kvm_arch_vcpu_ioctl_run that reads kvm_run (reason, u0, u1, u2)',
  };
}

export async function writeUnavailable({ store, statements, replay }: Tables): Promise<void> {
  const [enabled, seen] = [await readEnabled(store), await readSeen(store)];
  const has = (source: string): boolean => {
    if (statements.some((s) => s.source === source && s.sql !== null) || seen.has(source)) return true;
    return source.startsWith('event ') && enabled.has(source.slice('event '.length).replace('.', ':'));
  };
  writeTable(store, 'unavailable', (writer) => {
    const gaps = [pkvmGap(replay), realmGap(replay)].filter((gap) => gap !== null);
    for (const { what, sources, missing, record } of [...FIGURES, ...gaps])
      if (!sources.some(has)) writer.add({ what, missing, record });
  });
}
