/**
 * Every table of the database as data: name, what a row is, columns with type and meaning. The DDL and docs/schema.md
 * derive from it (DESIGN of the database: docs/architecture.md). Times are BIGINT ns on the trace's own clock; sizes,
 * gpas and offsets are bytes; NULL means "not known", never "none".
 */
export interface ColumnDef {
  readonly name: string;
  /** DuckDB type, with NOT NULL where it always has a value. */
  readonly type: string;
  readonly doc: string;
}

export interface TableDef {
  readonly name: string;
  readonly doc: string;
  readonly columns: readonly ColumnDef[];
}

const col = (name: string, type: string, doc: string): ColumnDef => ({ name, type, doc });

const traceId = col('trace_id', 'UTINYINT NOT NULL', 'trace.trace_id');
const certainty = col('certainty', 'VARCHAR NOT NULL', 'observed, inferred, assumed or unknown');
const vm = (doc = 'vm.vm_id; NULL where it cannot be told') => col('vm_id', 'INTEGER', doc);
const gmem = (doc = 'gmem.gmem_id; NULL where it cannot be told') => col('gmem_id', 'INTEGER', doc);

/** Tables that the import fills (beside ev_<system>_<name>, which are made from the trace's own formats). */
export const INPUT_TABLES: readonly TableDef[] = [
  {
    name: 'trace',
    doc: 'One input file.',
    columns: [
      col('trace_id', 'UTINYINT NOT NULL', 'number of the input, from 1'),
      col('path', 'VARCHAR NOT NULL', 'as the user named it'),
      col('sha256', 'VARCHAR', 'of the file as it lies on disk; NULL: standard input, or not computed'),
      col('format', 'VARCHAR NOT NULL', 'trace.dat, perf.data, ftrace-text, trace-cmd-report, perf-script or hyp-text'),
      col('version', 'VARCHAR NOT NULL', 'version and compression of the format'),
      col('kernel', 'VARCHAR', 'kernel release'),
      col('arch', 'VARCHAR', 'machine, as uname -m'),
      col('clock', 'VARCHAR NOT NULL', 'the kernel’s name of the clock, or unknown'),
      col('clock_unit', 'VARCHAR NOT NULL', 'ns, cycles, ticks or count'),
      col('resolution_ns', 'BIGINT NOT NULL', 'resolution of the stamps'),
      col('clock_offset_ns', 'BIGINT NOT NULL', 'what was added to every stamp to line this input up with the others'),
      col('first_ns', 'BIGINT', 'stamp of the first event'),
      col('last_ns', 'BIGINT', 'stamp of the last event'),
      col('events', 'BIGINT NOT NULL', 'events read'),
      col('lost', 'BIGINT', 'events known to be lost; NULL where a loss has no count'),
      col('recorder', 'VARCHAR', 'tool and version'),
      col('host', 'VARCHAR', 'host name'),
      col('cpus', 'INTEGER', 'CPUs of the machine'),
      col('enabled_events', 'VARCHAR[]', 'system:name of what was recorded, where the file tells; else NULL'),
      col('notes', 'VARCHAR[] NOT NULL', 'further facts worth a line'),
    ],
  },
  {
    name: 'lost',
    doc: 'A stretch of one CPU in which events may be missing.',
    columns: [
      traceId,
      col('cpu', 'INTEGER', 'NULL: any CPU'),
      col('from_ns', 'BIGINT', 'NULL: from the start'),
      col('to_ns', 'BIGINT', 'NULL: to the end'),
      col('count', 'BIGINT', 'events; NULL: at least one'),
      col('source', 'VARCHAR NOT NULL', 'how it is known'),
    ],
  },
  {
    name: 'skipped',
    doc: 'Input that could not be read, summed up per reason.',
    columns: [
      traceId,
      col('reason', 'VARCHAR NOT NULL', 'what was wrong'),
      col('count', 'BIGINT NOT NULL', 'how often'),
      col('first', 'VARCHAR NOT NULL', 'byte or line of the first'),
    ],
  },
  {
    name: 'event_type',
    doc: 'A tracepoint or probe of a trace.',
    columns: [
      traceId,
      col('system', 'VARCHAR NOT NULL', 'kvm, syscalls, …'),
      col('name', 'VARCHAR NOT NULL', 'name of the event'),
      col('table_name', 'VARCHAR NOT NULL', 'ev_<system>_<name>'),
      col('id', 'INTEGER', 'id in this file'),
      col('fields', 'STRUCT(name VARCHAR, type VARCHAR, c_type VARCHAR, radix UTINYINT)[] NOT NULL', 'in format order'),
      col('print_fmt', 'VARCHAR', 'print fmt of the format'),
      col('format_source', 'VARCHAR NOT NULL', 'file, catalogue:<kernel> or text'),
      col('probe_fn', 'VARCHAR', 'function that the probe sits on'),
      col('probe_return', 'BOOLEAN', 'true for a return probe; NULL for a tracepoint'),
      col('rows', 'BIGINT NOT NULL', 'events'),
    ],
  },
  {
    name: 'task',
    doc: 'A thread under one name; pids are used again.',
    columns: [
      traceId,
      col('tid', 'INTEGER NOT NULL', 'thread'),
      col('tgid', 'INTEGER', 'process'),
      col('comm', 'VARCHAR', 'name'),
      col('from_ns', 'BIGINT', 'NULL: from the start'),
      col('to_ns', 'BIGINT', 'NULL: to the end'),
    ],
  },
];

/** Tables that the replay and the rules fill; dropped and made anew by each replay. */
export const RESULT_TABLES: readonly TableDef[] = [
  {
    name: 'vm',
    doc: 'One KVM VM object.',
    columns: [
      col('vm_id', 'INTEGER NOT NULL', 'from 1'),
      col('platform', 'VARCHAR', 'x86-sw-protected, tdx, snp, pkvm, cca, plain; NULL where not known'),
      col('pid', 'INTEGER', 'process of the VMM'),
      col('comm', 'VARCHAR', 'name of the process'),
      col('kvm', 'UBIGINT', 'struct kvm pointer or pKVM handle, where seen'),
      col('from_ns', 'BIGINT', 'creation, or first sign; NULL: before the trace'),
      col('to_ns', 'BIGINT', 'end; NULL: not seen'),
      col('how', 'VARCHAR NOT NULL', 'what it is known by'),
      certainty,
    ],
  },
  {
    name: 'vcpu',
    doc: 'One vCPU of a VM and the thread that ran it.',
    columns: [
      vm(),
      col('vcpu', 'INTEGER NOT NULL', 'vcpu_id'),
      col('tid', 'INTEGER', 'thread'),
      col('comm', 'VARCHAR', 'name of the thread'),
      col('to_ns', 'BIGINT', 'end of the thread; NULL: not seen'),
      col('how', 'VARCHAR NOT NULL', 'what it is known by'),
      certainty,
    ],
  },
  {
    name: 'gmem',
    doc: 'One guest_memfd inode.',
    columns: [
      col('gmem_id', 'INTEGER NOT NULL', 'from 1'),
      vm(),
      col('inode', 'UBIGINT', 'i_ino'),
      col('dev', 'UBIGINT', 's_dev as the kernel has it'),
      col('fd', 'INTEGER', 'file descriptor in the VMM'),
      col('size', 'BIGINT', 'bytes'),
      col('flags', 'UBIGINT', 'of KVM_CREATE_GUEST_MEMFD'),
      col('from_ns', 'BIGINT', 'creation or first sign'),
      col('to_ns', 'BIGINT', 'release'),
      col('how', 'VARCHAR NOT NULL', 'what it is known by'),
      certainty,
    ],
  },
  {
    name: 'binding',
    doc: 'A range of a guest_memfd bound to a memslot: offset = gpa - binding.gpa + binding.offset.',
    columns: [
      gmem(),
      vm(),
      col('slot', 'INTEGER', 'memslot id'),
      col('gpa', 'BIGINT NOT NULL', 'bytes'),
      col('offset', 'BIGINT NOT NULL', 'bytes in the guest_memfd'),
      col('size', 'BIGINT', 'bytes; NULL: its end is not known'),
      col('from_ns', 'BIGINT', ''),
      col('to_ns', 'BIGINT', ''),
      col('how', 'VARCHAR NOT NULL', 'method of reference chapter 06 §5'),
      certainty,
    ],
  },
  {
    name: 'gmem_interval',
    doc: 'State of a range over a time. Where no guest_memfd is known, gmem_id is NULL and gpa holds the range.',
    columns: [
      vm(),
      gmem(),
      col('gpa', 'BIGINT', 'bytes; NULL where not known'),
      col('offset', 'BIGINT', 'bytes; NULL where not known'),
      col('size', 'BIGINT NOT NULL', 'bytes'),
      col('from_ns', 'BIGINT NOT NULL', ''),
      col('to_ns', 'BIGINT', 'NULL: to the end of the trace'),
      col('allocation', 'VARCHAR NOT NULL', 'axis A: unallocated, allocated, poisoned, unknown'),
      col('attribute', 'VARCHAR NOT NULL', 'axis B1, KVM’s attribute of the gfn: private, shared, unknown'),
      col(
        'shareability',
        'VARCHAR NOT NULL',
        'axis B2, the guest_memfd’s own attribute of the offset: private, shared, unknown',
      ),
      col(
        'conversion',
        'VARCHAR NOT NULL',
        'axis C: idle, to_private, to_shared; blocked: to private, held up by references; discarding: shared, the private copy not yet gone',
      ),
      col('state', 'VARCHAR NOT NULL', 'the display state of reference chapter 03'),
      certainty,
    ],
  },
  {
    name: 'conversion',
    doc: 'One conversion from the wish of the guest (or the VMM) to first use.',
    columns: [
      col('conversion_id', 'INTEGER NOT NULL', 'from 1, in order of request'),
      vm(),
      col('vcpu', 'INTEGER', 'that asked; NULL for the VMM’s own'),
      col('tid', 'INTEGER', 'thread that asked'),
      gmem(),
      col('gpa', 'BIGINT', 'bytes'),
      col('offset', 'BIGINT', 'bytes in the guest_memfd'),
      col('size', 'BIGINT', 'bytes'),
      col('direction', 'VARCHAR', 'to_private or to_shared'),
      col('origin', 'VARCHAR NOT NULL', 'explicit, implicit or vmm'),
      col(
        'request',
        'VARCHAR NOT NULL',
        'how it was asked for: map-gpa-range, tdx-mapgpa, snp-psc, snp-psc-msr, pkvm-hvc, rsi-ripas, fault, none',
      ),
      col(
        'mechanism',
        'VARCHAR NOT NULL',
        'what flipped it: vm-attributes, gmem-attributes, gmem-convert, vcpu-run, pkvm-hyp, unknown',
      ),
      col('outcome', 'VARCHAR NOT NULL', 'done, refused, failed, noop, pending, unknown'),
      col('request_ns', 'BIGINT', 'hypercall, TDVMCALL, VMGEXIT or fault; a vmm one: start of the ioctl'),
      col('exit_ns', 'BIGINT', 'exit to userspace'),
      col('commit_ns', 'BIGINT', 'end of the last attempt'),
      col('resume_ns', 'BIGINT', 'that vCPU runs again'),
      col('first_use_ns', 'BIGINT', 'first mapping with the new sharing'),
      col('stop_ns', 'BIGINT', 'L, the guest-visible stop in ns; NULL where a border was not seen'),
      col(
        'runnable_ns',
        'BIGINT',
        'of the stop: its thread was ready to run and had no CPU; NULL: scheduling not recorded',
      ),
      col('sleeping_ns', 'BIGINT', 'of the stop: its thread slept'),
      col('blocked_ns', 'BIGINT', 'of sleeping_ns: uninterruptibly (state D)'),
      col('attempts', 'INTEGER NOT NULL', 'ioctls tried'),
      col('failed_attempts', 'INTEGER NOT NULL', 'of them failed'),
      col('last_errno', 'INTEGER', 'of the last attempt, positive; NULL not known'),
      col('chunks', 'INTEGER NOT NULL', 'exits to userspace that carried it'),
      col('batch', 'INTEGER', 'rows with one number are ranges of one stop of the vCPU (SNP PSC)'),
      col('epoch', 'INTEGER NOT NULL', 'boot_epoch.epoch in which it was asked'),
      col('evidence_trace', 'UTINYINT', 'trace of the first event'),
      col('evidence_cpu', 'INTEGER', 'cpu of the first event'),
      col('evidence_seq', 'BIGINT', 'position of the first event'),
      col('evidence_ns', 'BIGINT', 'stamp of the first event'),
      certainty,
    ],
  },
  {
    name: 'conversion_attempt',
    doc: 'One try of a conversion: one ioctl.',
    columns: [
      col('conversion_id', 'INTEGER NOT NULL', ''),
      col('attempt', 'INTEGER NOT NULL', 'from 1'),
      col('start_ns', 'BIGINT', ''),
      col('end_ns', 'BIGINT', 'NULL: not seen'),
      col('errno', 'INTEGER', 'positive, 0 = success; NULL: result not seen'),
      col('error_offset', 'BIGINT', 'bytes in the guest_memfd'),
      col('tid', 'INTEGER', ''),
    ],
  },
  {
    name: 'memory_fault',
    doc: 'A KVM_EXIT_MEMORY_FAULT.',
    columns: [
      vm(),
      col('vcpu', 'INTEGER', ''),
      col('tid', 'INTEGER', ''),
      col('ts_ns', 'BIGINT NOT NULL', 'exit to userspace'),
      col('fault_ns', 'BIGINT', 'the guest’s fault'),
      col('resume_ns', 'BIGINT', 'that vCPU runs again'),
      col('gpa', 'BIGINT', 'page, without the shared bit'),
      col('size', 'BIGINT', 'bytes'),
      col('wanted', 'VARCHAR', 'private or shared; NULL not known'),
      col('cause', 'VARCHAR NOT NULL', 'mismatch, pending-conversion, stale-after-reboot, no-backing, unknown'),
      col('epoch', 'INTEGER NOT NULL', ''),
      col('conversion_id', 'INTEGER', 'the flip that answered it'),
      col('evidence_trace', 'UTINYINT', ''),
      col('evidence_cpu', 'INTEGER', ''),
      col('evidence_seq', 'BIGINT', ''),
      certainty,
    ],
  },
  {
    name: 'punch',
    doc: 'A hole punched into a guest_memfd.',
    columns: [
      vm(),
      gmem(),
      col('tid', 'INTEGER', ''),
      col('offset', 'BIGINT', ''),
      col('size', 'BIGINT', ''),
      col('start_ns', 'BIGINT NOT NULL', ''),
      col('end_ns', 'BIGINT', ''),
      col('errno', 'INTEGER', 'positive, 0 = success; NULL not seen'),
      certainty,
    ],
  },
  {
    name: 'reboot',
    doc: 'A guest that started over.',
    columns: [
      vm(),
      col('ts_ns', 'BIGINT NOT NULL', ''),
      col('epoch', 'INTEGER NOT NULL', 'the epoch that begins'),
      col('how', 'VARCHAR NOT NULL', 'what it is known by'),
      col('shared_pages', 'BIGINT', 'pages left shared at its start; NULL not known'),
      col('reset_ns', 'BIGINT', 'time spent in the VMM’s attribute ioctls between the boundary and the next KVM_RUN'),
      certainty,
    ],
  },
  {
    name: 'boot_epoch',
    doc: 'One boot of a guest; epoch 0 is the first.',
    columns: [
      vm(),
      col('epoch', 'INTEGER NOT NULL', ''),
      col('guest', 'INTEGER NOT NULL', 'VM rows with one number are boots of one guest'),
      col('from_ns', 'BIGINT', ''),
      col('to_ns', 'BIGINT', ''),
      col('faults', 'BIGINT', 'memory faults in it; NULL: the recording does not show any'),
      col('faults_ns', 'BIGINT', 'from each such fault until its vCPU ran again, in all'),
      col('stale_faults', 'BIGINT', 'pages that faulted because the boot before left them in the other state'),
      col('stale_ns', 'BIGINT', 'of faults_ns: theirs'),
      col(
        'reset_estimate_ns',
        'BIGINT',
        'what resetting the pages left shared would have cost in attribute ioctls, by this VM’s median a page; NULL not known',
      ),
      certainty,
    ],
  },
  {
    name: 'page_ref',
    doc: 'A reference on guest memory that somebody took: outstanding where dropped_ns is NULL.',
    columns: [
      vm(),
      gmem(),
      col('offset', 'BIGINT', 'first byte in the guest_memfd'),
      col('gpa', 'BIGINT', 'NULL where not known'),
      col('size', 'BIGINT NOT NULL', 'bytes of the run of pages taken together'),
      col('pfn', 'BIGINT', 'first page frame'),
      col('tid', 'INTEGER', 'who took it'),
      col('comm', 'VARCHAR', ''),
      col('how', 'VARCHAR NOT NULL', 'pin, get; unknown where only what it hindered shows it'),
      col(
        'taken_as',
        'VARCHAR',
        'pin, gup-fast (a pin in two steps), get, lru-batch (a CPU’s batch of additions to the LRU: nobody’s); NULL not known',
      ),
      col('seen_count', 'INTEGER', 'references of the page after it was taken, as the kernel counted'),
      col('expected_count', 'INTEGER', 'the same by what the trace shows: less than seen means others from before'),
      col('taken_ns', 'BIGINT NOT NULL', ''),
      col('dropped_ns', 'BIGINT', ''),
      col('dropped_by', 'VARCHAR', 'holder, teardown'),
      col('dropped_tid', 'INTEGER', 'thread that dropped it'),
      col('dropped_comm', 'VARCHAR', ''),
      col('blocks_conversion', 'INTEGER', 'conversion_id that it made fail'),
      col('holder_end_ns', 'BIGINT', 'when its last plausible holder ended'),
      certainty,
    ],
  },
  {
    name: 'dma_map',
    doc: 'A DMA mapping of guest memory.',
    columns: [
      vm(),
      gmem(),
      col('offset', 'BIGINT', ''),
      col('iova', 'BIGINT NOT NULL', ''),
      col('paddr', 'BIGINT NOT NULL', ''),
      col('size', 'BIGINT NOT NULL', ''),
      col('tid', 'INTEGER', ''),
      col('how', 'VARCHAR', 'vfio-type1 or iommufd: the ioctl that mapped it; NULL not known'),
      col('mapped_ns', 'BIGINT NOT NULL', ''),
      col('unmapped_ns', 'BIGINT', ''),
      col(
        'page_gone_ns',
        'BIGINT',
        'its page left the file while it was mapped: a device still reaches a page that is none of the guest’s',
      ),
      col('blocks_conversion', 'INTEGER', 'conversion_id that it made fail'),
      col(
        'flip_conversion',
        'INTEGER',
        'conversion_id of the first conversion to private that went through while it was mapped',
      ),
      certainty,
    ],
  },
  {
    name: 'host_access',
    doc: 'The host touched a page that a guest keeps private.',
    columns: [
      vm(),
      col('tid', 'INTEGER', 'thread that touched it; NULL not known'),
      col('comm', 'VARCHAR', ''),
      col('ts_ns', 'BIGINT NOT NULL', ''),
      col('gpa', 'BIGINT', 'page; NULL not known'),
      col('hva', 'UBIGINT', 'address in the VMM, where it was one'),
      col('pfn', 'BIGINT', 'page frame, where known'),
      col(
        'how',
        'VARCHAR NOT NULL',
        'what came of it: sigsegv, sigbus, efault (the page stays private), forced-reclaim (its contents are lost)',
      ),
      col('evidence_trace', 'UTINYINT NOT NULL', ''),
      col('evidence_cpu', 'INTEGER NOT NULL', ''),
      col('evidence_seq', 'BIGINT NOT NULL', ''),
      certainty,
    ],
  },
  {
    name: 'finding',
    doc: 'What a rule says.',
    columns: [
      col('finding_id', 'INTEGER NOT NULL', 'from 1, worst first'),
      col('rule', 'VARCHAR NOT NULL', ''),
      col('severity', 'VARCHAR NOT NULL', 'error, warning or info'),
      col('verdict', 'VARCHAR NOT NULL', 'fail or inconclusive'),
      vm('vm.vm_id; NULL: not about one VM'),
      gmem('gmem.gmem_id; NULL: not about one'),
      col('vcpu', 'INTEGER', ''),
      col('title', 'VARCHAR NOT NULL', 'one sentence'),
      col('details', 'VARCHAR[]', 'what else is known of it, a line each; NULL: nothing'),
      col('since_ns', 'BIGINT', ''),
      col('until_ns', 'BIGINT', ''),
      col('count', 'BIGINT NOT NULL', 'how many cases it sums up'),
      certainty,
      col('hint', 'VARCHAR', 'what to do or look at next'),
      col('thresholds', 'VARCHAR', 'the parameters that decided, name = value'),
    ],
  },
  {
    name: 'finding_evidence',
    doc: 'An event that a finding rests on.',
    columns: [
      col('finding_id', 'INTEGER NOT NULL', ''),
      col('rank', 'INTEGER NOT NULL', 'from 1'),
      traceId,
      col('cpu', 'INTEGER NOT NULL', ''),
      col('seq', 'BIGINT NOT NULL', 'position in the input'),
      col('ts_ns', 'BIGINT NOT NULL', ''),
    ],
  },
  {
    name: 'dismissed',
    doc: 'What looked like a finding of a rule and is none.',
    columns: [
      col('rule', 'VARCHAR NOT NULL', ''),
      vm('vm.vm_id; NULL: not about one VM'),
      gmem('gmem.gmem_id; NULL: not about one'),
      col('vcpu', 'INTEGER', ''),
      col('title', 'VARCHAR NOT NULL', 'what it looked like'),
      col('reason', 'VARCHAR NOT NULL', 'why it is none'),
      col('since_ns', 'BIGINT', ''),
      col('until_ns', 'BIGINT', ''),
      col('count', 'BIGINT NOT NULL', 'how many cases it sums up'),
      certainty,
    ],
  },
  {
    name: 'unavailable',
    doc: 'A rule or figure that could not be judged.',
    columns: [
      col('what', 'VARCHAR NOT NULL', 'rule or figure'),
      col('missing', 'VARCHAR NOT NULL', 'what the trace lacks'),
      col('record', 'VARCHAR NOT NULL', 'what to record next time'),
    ],
  },
];

/** Layout of the database; a file with another number is refused with advice to import again. */
export const SCHEMA_VERSION = 2;

/** One row that tells our databases from others. */
export const VERSION_TABLE: TableDef = {
  name: 'gmemtrace',
  doc: 'What wrote this database.',
  columns: [col('schema_version', 'INTEGER NOT NULL', 'layout of the tables')],
};

export const TABLES: readonly TableDef[] = [...INPUT_TABLES, ...RESULT_TABLES];

/** The columns that every ev_<system>_<name> table begins with. */
export const EVENT_COLUMNS: readonly ColumnDef[] = [
  traceId,
  col('ts_ns', 'BIGINT', 'stamp in ns, or in the clock’s own unit where trace.clock_unit is not ns'),
  col('cpu', 'USMALLINT', 'CPU that recorded it'),
  col('tid', 'INTEGER', 'thread that was running'),
  col('seq', 'BIGINT', 'position in the input, rising within a CPU: byte of a binary trace, line of a text'),
  col('flags', 'USMALLINT', 'common_flags in the low byte, preempt count in the high byte; 65535: the trace has none'),
];

/** CREATE TABLE of one definition. */
export function createTableSql(table: TableDef): string {
  const columns = table.columns.map((c) => `"${c.name}" ${c.type}`).join(', ');
  return `CREATE TABLE "${table.name}" (${columns})`;
}

/** The table that holds the events of a tracepoint: `kvm`, `kvm_exit` → `ev_kvm_kvm_exit`. */
export function eventTableName(system: string, name: string): string {
  return `ev_${system}_${name}`.replace(/[^A-Za-z0-9_]/g, '_');
}
