/**
 * How long events of a vCPU took, paired as perf pairs them: `perf kvm stat report --event vmexit|mmio|ioport|msr`
 * (tools/perf/builtin-kvm.c: handle_begin_event, handle_end_event; the keys of arch/x86/util/kvm-stat.c and
 * arch/arm64/util/kvm-stat.c). What has no partner is counted.
 */
import { resolveSource, type EventTable } from '../../replay/vocabulary.js';

export const EXIT_EVENTS = ['vmexit', 'mmio', 'ioport', 'msr'] as const;
export type ExitEvent = (typeof EXIT_EVENTS)[number];

/** Tracepoint that an event cannot do without; each needs kvm_entry, too. */
export const NEEDED: Readonly<Record<ExitEvent, string>> = {
  vmexit: 'kvm_exit',
  mmio: 'kvm_mmio',
  ioport: 'kvm_pio',
  msr: 'kvm_msr',
};

/** KVM_TRACE_MMIO_READ and _WRITE (include/trace/events/kvm.h). */
const MMIO_READ = 1;
const MMIO_WRITE = 2;

interface Edge {
  readonly event: string;
  readonly fields: string;
  /** The row begins or ends a sample. */
  readonly begins: string;
  readonly ends: string;
  /** What the sample is about; NULL: the other end knows. */
  readonly key: string;
  readonly info: string;
  readonly where?: string;
}

const NO_KEY = { key: 'NULL', info: 'NULL' };
const KVM_ENTRY: Edge = { event: 'kvm_entry', fields: 'vcpu_id', begins: 'false', ends: 'true', ...NO_KEY };

/** Which rows begin and end the samples of each event. */
const EDGES: Readonly<Record<ExitEvent, readonly Edge[]>> = {
  vmexit: [
    {
      event: 'kvm_exit',
      fields: 'vcpu_id, exit_reason, isa, ret, esr_ec',
      begins: 'true',
      ends: 'false',
      // -1: its reason could not be read, and it is an exit all the same
      key: 'coalesce(exit_reason, CASE WHEN ret = 2 THEN esr_ec ELSE ret END, -1)',
      info: 'coalesce(isa, ret)',
    },
    KVM_ENTRY,
  ],
  mmio: [
    // A read begins when the guest exits and ends with its data, a write begins with its data.
    { event: 'kvm_exit', fields: 'vcpu_id', begins: 'true', ends: 'false', ...NO_KEY },
    {
      event: 'kvm_mmio',
      fields: 'type, gpa',
      begins: `type = ${MMIO_WRITE}`,
      ends: `type = ${MMIO_READ}`,
      key: 'gpa',
      info: `CASE WHEN type = ${MMIO_WRITE} THEN 1 ELSE 0 END`,
      where: `type IN (${MMIO_READ}, ${MMIO_WRITE})`,
    },
    KVM_ENTRY,
  ],
  ioport: [{ event: 'kvm_pio', fields: 'port, rw', begins: 'true', ends: 'false', key: 'port', info: 'rw' }, KVM_ENTRY],
  msr: [
    { event: 'kvm_msr', fields: 'ecx, write', begins: 'true', ends: 'false', key: 'ecx', info: 'write' },
    KVM_ENTRY,
  ],
};

function edgeSql(tables: readonly EventTable[], edge: Edge): string | null {
  const from = resolveSource(tables, 'event', `kvm.${edge.event}`, edge.fields);
  if (from === null) return null;
  const vcpu = edge.fields.includes('vcpu_id') ? 'vcpu_id' : 'NULL';
  return `SELECT trace_id, tid, ts_ns, cpu, seq, TRY_CAST(${vcpu} AS INTEGER) AS vcpu_id, ${edge.begins} AS begins, ${edge.ends} AS ends,
    ${edge.event === 'kvm_entry'} AS enters, TRY_CAST(${edge.key} AS BIGINT) AS key, TRY_CAST(${edge.info} AS BIGINT) AS info
    FROM (${from}) ${edge.where === undefined ? '' : `WHERE ${edge.where}`}`;
}

/**
 * Query with a row a beginning or end: key, info, begin_ns, end_ns (NULL: nothing ended it), begin_cpu, end_cpu, tid,
 * vcpu_id; is_begin (it is about a sample), is_early (before the thread's first kvm_entry, where perf does not know the
 * vCPU yet and leaves it out); is_end (an end that should have a beginning), ends_one (the sample takes such an end).
 * null where a tracepoint is missing.
 */
export function edgesSql(tables: readonly EventTable[], event: ExitEvent): string | null {
  const edges = EDGES[event].map((edge) => edgeSql(tables, edge));
  if (edges.some((sql, k) => sql === null && ['kvm_entry', NEEDED[event]].includes(EDGES[event][k]!.event)))
    return null;
  // Of MMIO only ends that carry an access are about it: an entry may end anything.
  const isAbout = (row: string): string => (event === 'vmexit' ? 'true' : `${row}key IS NOT NULL`);
  const row = 'struct_pack(begins, ts_ns, cpu, key, info)';
  // An exit that is no exit for MMIO is ended by no entry: the next access or exit decides.
  const keyed = `lead(CASE WHEN begins OR key IS NOT NULL THEN ${row} END IGNORE NULLS) OVER w`;
  return `
    WITH edges AS (${edges.filter((sql) => sql !== null).join(' UNION ALL ')}),
    entered AS (SELECT trace_id, tid, min(ts_ns) AS entered_ns FROM edges WHERE enters GROUP BY trace_id, tid),
    followed AS (
      SELECT *, lead(${row}) OVER w AS next, ${event === 'mmio' ? keyed : 'NULL::STRUCT(begins BOOLEAN)'} AS next_keyed
      FROM edges WINDOW w AS (PARTITION BY trace_id, tid ORDER BY ts_ns, cpu, seq)),
    closed AS (
      SELECT f.*, entered_ns IS NULL OR ts_ns < entered_ns AS is_early,
        CASE WHEN NOT begins OR entered_ns IS NULL OR ts_ns < entered_ns THEN NULL
          ${event === 'mmio' ? 'WHEN key IS NULL THEN CASE WHEN NOT next_keyed.begins THEN next_keyed END' : ''}
          WHEN NOT next.begins THEN next END AS closing
      FROM followed f LEFT JOIN entered USING (trace_id, tid))
    SELECT tid, vcpu_id, coalesce(key, closing.key) AS key, CASE WHEN key IS NULL THEN closing.info ELSE info END AS info,
      ts_ns AS begin_ns, closing.ts_ns AS end_ns, cpu AS begin_cpu, closing.cpu AS end_cpu,
      begins AND key IS NOT NULL AS is_begin, is_early, ends AND ${isAbout('')} AS is_end,
      closing IS NOT NULL AND ${isAbout('closing.')} AS ends_one
    FROM closed`;
}
