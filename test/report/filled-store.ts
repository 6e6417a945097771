/** A store whose tables are filled by hand: two VMs, six conversions of every kind, a finding, and figures that are missing. */
import { openStore, type Store } from '../../src/store/db.js';
import { createTables } from '../../src/store/tables.js';

const BASE = 100_000_000_000n;
const at = (us: number): string => String(BASE + BigInt(us) * 1000n);

interface Row {
  readonly id: number;
  readonly vcpu: number | null;
  readonly direction: string;
  readonly origin: string;
  readonly outcome: string;
  /** µs from the start: request, exit, commit, resume, first use; null = not seen. */
  readonly times: readonly (number | null)[];
  readonly certainty?: string;
}

const CONVERSIONS: readonly Row[] = [
  { id: 1, vcpu: null, direction: 'to_private', origin: 'vmm', outcome: 'done', times: [10, null, 60, null, null] },
  { id: 2, vcpu: 0, direction: 'to_shared', origin: 'explicit', outcome: 'done', times: [100, 120, 180, 200, 210] },
  { id: 3, vcpu: 0, direction: 'to_shared', origin: 'explicit', outcome: 'done', times: [300, 320, 2250, 2300, null] },
  {
    id: 4,
    vcpu: 1,
    direction: 'to_shared',
    origin: 'explicit',
    outcome: 'refused',
    times: [400, 410, null, 450, null],
  },
  { id: 5, vcpu: 1, direction: 'to_private', origin: 'implicit', outcome: 'done', times: [500, 510, 560, 600, 640] },
  {
    id: 6,
    vcpu: 1,
    direction: 'to_private',
    origin: 'explicit',
    outcome: 'pending',
    times: [700, 720, null, null, null],
  },
];

type Fields = Readonly<Record<string, string | number | boolean | null>>;

/** One row by names of columns, so that a column added to a table later stays NULL here. Texts of digits are numbers. */
function insertSql(table: string, fields: Fields): string {
  const columns = Object.entries(fields).map(([name, value]) => {
    const isText = typeof value === 'string' && !/^\d+$/.test(value);
    return `${isText ? `'${value.replaceAll("'", "''")}'` : String(value)} AS "${name}"`;
  });
  return `INSERT INTO ${table} BY NAME SELECT ${columns.join(', ')}`;
}

const REQUESTS: Readonly<Record<string, string>> = { explicit: 'map-gpa-range', implicit: 'fault', vmm: 'none' };

function conversionFields({ id, vcpu, direction, origin, outcome, times, certainty = 'observed' }: Row): Fields {
  const [request, , , resume] = times;
  const [request_ns, exit_ns, commit_ns, resume_ns, first_use_ns] = times.map((t) => (t === null ? null : at(t)));
  return {
    conversion_id: id,
    vm_id: 1,
    vcpu,
    tid: 42,
    gmem_id: 1,
    gpa: 0x1_0000_0000 + id * 0x10000,
    offset: id * 0x10000,
    size: 8192,
    direction,
    origin,
    request: REQUESTS[origin]!,
    mechanism: 'vm-attributes',
    outcome,
    request_ns: request_ns!,
    exit_ns: exit_ns!,
    commit_ns: commit_ns!,
    resume_ns: resume_ns!,
    first_use_ns: first_use_ns!,
    stop_ns: request == null || resume == null || vcpu === null ? null : (resume - request) * 1000,
    attempts: 1,
    failed_attempts: 0,
    chunks: 1,
    epoch: 0,
    certainty,
  };
}

function rows(): readonly string[] {
  const observed = { certainty: 'observed' };
  const interval = { vm_id: 1, gmem_id: 1, allocation: 'allocated', conversion: 'idle' };
  const GPA = 0x1_0000_0000;
  return [
    insertSql('trace', {
      ...{ trace_id: 1, path: 'a.dat', format: 'trace.dat', version: '7 zstd', kernel: '7.3.4', arch: 'x86_64' },
      ...{ clock: 'mono', clock_unit: 'ns', resolution_ns: 1, clock_offset_ns: 0, events: 12345, lost: 0, cpus: 2 },
      ...{ first_ns: at(0), last_ns: at(3_000_000), recorder: 'trace-cmd 3.3.1', host: 'lab' },
    }).replace(' SELECT ', ' SELECT []::VARCHAR[] AS notes, '),
    insertSql('vm', { vm_id: 1, platform: 'x86-sw-protected', pid: 40, comm: 'vmm', how: 'threads', ...observed }),
    insertSql('vm', { vm_id: 2, pid: 50, comm: 'vmm', how: 'threads', certainty: 'inferred' }),
    insertSql('vcpu', { vm_id: 1, vcpu: 0, tid: 42, comm: 'CPU', how: 'event', ...observed }),
    insertSql('vcpu', { vm_id: 1, vcpu: 1, tid: 43, comm: 'CPU', how: 'event', ...observed }),
    insertSql('vcpu', { vm_id: 2, vcpu: 0, tid: 52, comm: 'CPU', how: 'event', certainty: 'inferred' }),
    insertSql('gmem', {
      gmem_id: 1,
      vm_id: 1,
      inode: '18446744073709551615',
      size: 4194304,
      how: 'probe',
      ...observed,
    }),
    insertSql('binding', {
      gmem_id: 1,
      vm_id: 1,
      slot: 1,
      gpa: GPA,
      offset: 0,
      size: 4194304,
      how: 'probe',
      ...observed,
    }),
    ...CONVERSIONS.map((c) => insertSql('conversion', conversionFields(c))),
    insertSql('conversion_attempt', { conversion_id: 2, attempt: 1, start_ns: at(150), end_ns: at(180), errno: 0 }),
    insertSql('conversion_attempt', {
      ...{ conversion_id: 3, attempt: 1, start_ns: at(400), end_ns: at(420), errno: 11, error_offset: 65536 },
    }),
    insertSql('conversion_attempt', { conversion_id: 3, attempt: 2, start_ns: at(2200), end_ns: at(2250), errno: 0 }),
    insertSql('memory_fault', {
      ...{ vm_id: 1, vcpu: 1, tid: 43, ts_ns: at(510), gpa: GPA + 0x50000, size: 4096, wanted: 'private' },
      ...{ cause: 'mismatch', epoch: 0, conversion_id: 5, ...observed },
    }),
    insertSql('memory_fault', {
      ...{ vm_id: 2, vcpu: 0, tid: 52, ts_ns: at(900), size: 4096, cause: 'unknown', epoch: 0, certainty: 'inferred' },
    }),
    insertSql('punch', { vm_id: 1, gmem_id: 1, offset: 131072, size: 8192, start_ns: at(185), errno: 0, ...observed }),
    insertSql('reboot', {
      vm_id: 1,
      ts_ns: at(2_000_000),
      epoch: 1,
      how: 'vcpu reset',
      shared_pages: 12,
      certainty: 'inferred',
    }),
    insertSql('page_ref', {
      ...{ vm_id: 1, gmem_id: 1, offset: 65536, size: 4096, tid: 99, comm: 'io', how: 'pin', taken_ns: at(50) },
      ...{ blocks_conversion: 3, ...observed },
    }),
    insertSql('finding', {
      ...{
        finding_id: 1,
        rule: 'conversion-stall',
        severity: 'warning',
        verdict: 'fail',
        vm_id: 1,
        gmem_id: 1,
        vcpu: 0,
      },
      ...{ title: 'to_shared gpa 0x100030000+8K took 2.00 ms', since_ns: at(300), until_ns: at(2300), count: 1 },
      ...{ hint: 'look at the VMM', thresholds: 'min_ns = 1000000, factor = 8', ...observed },
    }),
    insertSql('gmem_interval', {
      ...{ ...interval, gpa: GPA, offset: 0, size: 8192, from_ns: at(0), to_ns: at(1000) },
      ...{ attribute: 'private', shareability: 'unknown', state: 'private', ...observed },
    }),
    insertSql('gmem_interval', {
      ...{ ...interval, gpa: GPA, offset: 0, size: 4096, from_ns: at(1000) },
      ...{ attribute: 'shared', shareability: 'unknown', state: 'shared', certainty: 'inferred' },
    }),
    insertSql('gmem_interval', {
      ...{ ...interval, gpa: GPA + 4096, offset: 4096, size: 4096, from_ns: at(1000) },
      ...{ attribute: 'private', shareability: 'unknown', state: 'private', ...observed },
    }),
    insertSql('gmem_interval', {
      ...{ ...interval, gpa: GPA + 8192, offset: 8192, size: 4096, from_ns: at(500) },
      ...{ attribute: 'private', shareability: 'unknown', state: 'private', ...observed },
    }),
  ];
}

/** Opens the store. `missing` are figures that the trace cannot show. */
export async function openFilledStore(missing: readonly string[] = ['references']): Promise<Store> {
  const store = await openStore(null);
  await createTables(store);
  const unavailable = missing.map((what) =>
    insertSql('unavailable', { what, missing: 'no events of it', record: `-e ${what}` }),
  );
  for (const statement of [...rows(), ...unavailable]) await store.run(statement);
  return store;
}

/** Stamp that is so many µs after the first event. */
export function stampAt(us: number): bigint {
  return BASE + BigInt(us) * 1000n;
}
