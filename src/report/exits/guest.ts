/** Exits from the guest by reason and the time until they were handled: what `perf kvm stat report` tells, and what it leaves out. */
import { OWNERS_SQL } from '../../replay/exit-view.js';
import { readRuleSources } from '../../replay/rule-sources.js';
import type { EventTable } from '../../replay/vocabulary.js';
import type { Store } from '../../store/db.js';
import { readEventTypes } from '../events/types.js';
import { num, numOrNull, type Row } from '../rows.js';
import { readStats, statsSql, type Stats } from '../stats.js';
import { exitNames } from './names.js';
import { NEEDED, edgesSql, type ExitEvent } from './samples.js';

export const EXIT_ORDERS = ['samples', 'time'] as const;
/** By number of samples, or by the mean time, as perf's `--key`. */
export type ExitOrder = (typeof EXIT_ORDERS)[number];

export interface ExitLine {
  /** `npf`; of MMIO, ports and MSRs the address and the way: `0xd0001040:W`, `0x3f8:POUT`. */
  readonly name: string;
  /** null: not split by it, or not known. */
  readonly vm: number | null;
  readonly vcpu: number | null;
  readonly time: Stats;
  /** Sample standard deviation, ns; null below two samples. */
  readonly stddev: number | null;
}

export interface GuestExits {
  readonly event: ExitEvent;
  readonly by: readonly ('vm' | 'vcpu')[];
  /** Tracepoints that it needs and that were not recorded: then nothing is known, and all numbers are 0. */
  readonly missing: readonly string[];
  readonly lines: readonly ExitLine[];
  readonly samples: number;
  /** Sum of all samples, ns. */
  readonly totalNs: number;
  /** Without a partner, and samples whose time may be two: the trace lost events in between. */
  readonly unmatched: {
    /** Begun before the thread's first kvm_entry: perf leaves them out, too. */
    readonly early: number;
    /** Nothing ended them. */
    readonly unended: number;
    /** Ends that nothing began. */
    readonly unbegun: number;
    readonly overLoss: number;
  };
}

export interface GuestExitOptions {
  readonly event: ExitEvent;
  readonly order: ExitOrder;
  readonly by: readonly ('vm' | 'vcpu')[];
}

/** The error of the mean in percent of it, perf's `+-`: stddev / sqrt(n) / mean; 0 below two samples, as perf has it. */
export function errorPercent({ time, stddev }: ExitLine): number {
  if (stddev === null || time.count < 2 || time.mean === null || time.mean === 0) return 0;
  return ((stddev / Math.sqrt(time.count)) * 100) / time.mean;
}

/** Reads the exits, in the order that is asked for. */
export async function readGuestExits(store: Store, options: GuestExitOptions): Promise<GuestExits> {
  const { tables, enabled } = await readRuleSources(store);
  const edges = edgesSql(tables, options.event);
  if (edges === null) return without(options, missingOf(tables, enabled, options.event));
  const rows = await store.rows(linesSql(edges, options.by));
  const counts = rows[0]!;
  const nameOf = await namer(store, options.event);
  const lines = rows.flatMap((row) => (numOrNull(row, 'samples') === null ? [] : [readLine(row, nameOf, options.by)]));
  return {
    event: options.event,
    by: options.by,
    missing: [],
    lines: lines.sort(orderOf(options.order)),
    samples: num(counts, 'all_samples'),
    totalNs: num(counts, 'all_ns'),
    unmatched: {
      early: num(counts, 'early'),
      unended: num(counts, 'unended'),
      unbegun: num(counts, 'unbegun'),
      overLoss: num(counts, 'over_loss'),
    },
  };
}

function linesSql(edges: string, by: GuestExitOptions['by']): string {
  const keys = ['key', 'info', ...by.map((name) => (name === 'vm' ? 'vm_id' : 'vcpu'))].join(', ');
  return `
    WITH edges AS (${edges}), owners AS (${OWNERS_SQL}),
    owned AS MATERIALIZED (
      SELECT e.*, o.vm_id, coalesce(o.vcpu, e.vcpu_id) AS vcpu, end_ns - begin_ns AS ns
      FROM edges e LEFT JOIN owners o USING (tid)),
    lines AS (
      SELECT ${keys}, ${statsSql('ns')}, stddev_samp(ns) AS stddev FROM owned WHERE ns IS NOT NULL GROUP BY ${keys}),
    counts AS (
      SELECT count(ns) AS all_samples, coalesce(sum(ns), 0)::DOUBLE AS all_ns, count(*) FILTER (is_end) - count(*) FILTER (ends_one) AS unbegun,
        count(*) FILTER (is_begin AND is_early) AS early, count(*) FILTER (is_begin AND NOT is_early AND ns IS NULL) AS unended
      FROM owned),
    losses AS (
      SELECT count(*) AS over_loss FROM owned WHERE ns IS NOT NULL AND EXISTS (
        SELECT 1 FROM lost WHERE (lost.cpu IS NULL OR lost.cpu = owned.begin_cpu OR lost.cpu = owned.end_cpu)
          AND coalesce(lost.from_ns, owned.begin_ns) < owned.end_ns AND coalesce(lost.to_ns, owned.end_ns) > owned.begin_ns))
    SELECT * FROM counts CROSS JOIN losses LEFT JOIN lines ON true`;
}

/** Recorded and nothing came is an answer, not recorded is none. */
function missingOf(tables: readonly EventTable[], enabled: readonly string[], event: ExitEvent): readonly string[] {
  return [NEEDED[event], 'kvm_entry'].filter(
    (name) => !tables.some((t) => t.system === 'kvm' && t.name === name) && !enabled.includes(`kvm:${name}`),
  );
}

function without({ event, by }: GuestExitOptions, missing: readonly string[]): GuestExits {
  const unmatched = { early: 0, unended: 0, unbegun: 0, overLoss: 0 };
  return { event, by, missing, lines: [], samples: 0, totalNs: 0, unmatched };
}

type Namer = (key: number, info: number | null) => string;

async function namer(store: Store, event: ExitEvent): Promise<Namer> {
  if (event === 'vmexit') {
    const types = await readEventTypes(store);
    const nameOf = exitNames(types);
    const isArm = types.some(
      (type) => type.name === 'kvm_exit' && type.fields.some((field) => field.name === 'esr_ec'),
    );
    return (key, info) => nameOf({ key: key < 0 ? null : key, info, isArm });
  }
  const [out, back] = event === 'ioport' ? ['POUT', 'PIN'] : ['W', 'R'];
  return (key, info) => `0x${key.toString(16)}:${info === 0 ? back : out}`;
}

function readLine(row: Row, nameOf: Namer, by: GuestExitOptions['by']): ExitLine {
  return {
    name: nameOf(num(row, 'key'), numOrNull(row, 'info')),
    vm: by.includes('vm') ? numOrNull(row, 'vm_id') : null,
    vcpu: by.includes('vcpu') ? numOrNull(row, 'vcpu') : null,
    time: readStats(row),
    stddev: numOrNull(row, 'stddev'),
  };
}

function orderOf(order: ExitOrder): (a: ExitLine, b: ExitLine) => number {
  const weight = ({ time }: ExitLine): number => (order === 'samples' ? time.count : (time.mean ?? 0));
  const place = ({ vm, vcpu }: ExitLine): number => (vm ?? 1e6) * 1e4 + (vcpu ?? 9999);
  return (a, b) => place(a) - place(b) || weight(b) - weight(a) || (a.name < b.name ? -1 : 1);
}
