// Fills a database as an import would, with the events of guests that convert one page after the other, scattered over
// their memory: what the replay costs is measured on it. Nothing in it is random: the same arguments, the same events.

const PAGE = 4096;
/** Between two conversions, ns; each has nine events in it. */
const SPACING_NS = 20_000;
const START_NS = 1_000_000_000;

/** ioctl numbers (include/uapi/linux/kvm.h). */
const KVM_CREATE_VM = 0xae01;
const KVM_CREATE_VCPU = 0xae41;
const KVM_RUN = 0xae80;
const KVM_SET_MEMORY_ATTRIBUTES = 0x4020aed2;

/** One event table from rows of a plan, `at` ns after each began; its fields are SQL expressions. */
async function addEvents(store, [system, name], at, fields, from) {
  const list = Object.entries(fields);
  const columns = list.map(([field, expression]) => `${expression} AS "${field}"`).join(', ');
  const table = `ev_${system}_${name}`;
  await store.run(`CREATE TABLE IF NOT EXISTS ${table} AS SELECT 1::UTINYINT AS trace_id, (ts_ns + ${at})::BIGINT AS ts_ns,
    0::USMALLINT AS cpu, tid::INTEGER AS tid, (ts_ns + ${at})::BIGINT AS seq, 0::USMALLINT AS flags, ${columns} FROM ${from} LIMIT 0`);
  await store.run(`INSERT INTO ${table} SELECT 1, ts_ns + ${at}, 0, tid, ts_ns + ${at}, 0, ${columns} FROM ${from}`);
  await store.run(`DELETE FROM event_type WHERE name = '${name}'`);
  const described = list.map(([field]) => `{name: '${field}', type: 'u64', c_type: 'u64', radix: 10}`).join(', ');
  await store.run(`INSERT INTO event_type BY NAME SELECT 1 AS trace_id, '${system}' AS system, '${name}' AS name,
    '${table}' AS table_name, 1 AS id, [${described}] AS fields, 'file' AS format_source, count(*) AS rows FROM ${table}`);
}

const ioctl = (store, at, fd, cmd, from) =>
  addEvents(
    store,
    ['syscalls', 'sys_enter_ioctl'],
    at,
    { fd: `${fd}::UBIGINT`, cmd: `${cmd}::UBIGINT`, arg: '0::UBIGINT' },
    from,
  );
const ioctlExit = (store, at, ret, from) =>
  addEvents(store, ['syscalls', 'sys_exit_ioctl'], at, { ret: `${ret}::BIGINT` }, from);

/** The VMMs make their VM and vCPU before the first conversion: descriptors 11 and 12 in each process. */
async function addSetUp(store, vms) {
  await store.run(
    `CREATE TEMP TABLE vmm AS SELECT ${START_NS - 200_000_000} + v * 1000 AS ts_ns, 10000 + v * 10 AS tid FROM range(${vms}) t(v)`,
  );
  await ioctl(store, 0, 5, KVM_CREATE_VM, 'vmm');
  await ioctlExit(store, 50, 11, 'vmm');
  await ioctl(store, 100, 11, KVM_CREATE_VCPU, 'vmm');
  await ioctlExit(store, 150, 12, 'vmm');
  await store.run(
    `INSERT INTO task BY NAME SELECT 1 AS trace_id, tid + k AS tid, tid AS tgid, 'vmm' AS comm FROM vmm, range(2) s(k)`,
  );
}

/**
 * `count` conversions of one page in turn by `vms` guests of 1 TiB in all, alternating to private and to shared: a
 * hypercall, its exit, KVM_SET_MEMORY_ATTRIBUTES, KVM_RUN and the entry. Nine events each.
 */
export async function fillScattered(store, count, vms = 1) {
  const pages = Math.floor(2 ** 40 / PAGE / vms);
  await store.run(`CREATE TEMP TABLE plan AS SELECT ${START_NS} + i * ${SPACING_NS} AS ts_ns,
    10001 + (i % ${vms}) * 10 AS tid, (hash(i) % ${pages})::UBIGINT AS gfn, (i // ${vms}) % 2 = 0 AS is_private FROM range(${count}) t(i)`);
  const last = START_NS + count * SPACING_NS;
  await store.run(`INSERT INTO trace BY NAME SELECT 1 AS trace_id, 'made' AS path, 'made' AS format, '' AS "version",
    'mono' AS clock, 'ns' AS clock_unit, 1 AS resolution_ns, 0 AS clock_offset_ns, ${START_NS} AS first_ns, ${last} AS last_ns,
    ${count * 9 + vms * 4} AS events, []::VARCHAR[] AS notes`);
  await addSetUp(store, vms);
  await addEvents(store, ['kvm', 'kvm_exit'], 0, { exit_reason: '18', vcpu_id: '0', isa: '1' }, 'plan');
  const a2 = 'CASE WHEN is_private THEN 16 ELSE 0 END';
  await addEvents(
    store,
    ['kvm', 'kvm_hypercall'],
    100,
    { nr: '12', a0: `gfn * ${PAGE}`, a1: '1::UBIGINT', a2 },
    'plan',
  );
  await addEvents(store, ['kvm', 'kvm_userspace_exit'], 200, { reason: '3', errno: '0' }, 'plan');
  await ioctlExit(store, 300, 0, 'plan');
  await ioctl(store, 400, 11, KVM_SET_MEMORY_ATTRIBUTES, 'plan');
  const attr = '(CASE WHEN is_private THEN 8 ELSE 0 END)::UBIGINT';
  await addEvents(store, ['kvm', 'kvm_vm_set_mem_attributes'], 500, { start: 'gfn', end: 'gfn + 1', attr }, 'plan');
  await ioctlExit(store, 600, 0, 'plan');
  await ioctl(store, 700, 12, KVM_RUN, 'plan');
  await addEvents(store, ['kvm', 'kvm_entry'], 800, { vcpu_id: '0', rip: '4096' }, 'plan');
  await store.run('DROP TABLE plan; DROP TABLE vmm');
}
