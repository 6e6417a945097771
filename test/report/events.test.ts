import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  countEvents,
  readEventLines,
  readEvents,
  selectEvents,
  type EventQuery,
} from '../../src/report/events/read.js';
import { lineWriter, readTraceFacts } from '../../src/report/events/lines.js';
import { flagCharacters, hasLazyResched, type LineStyle } from '../../src/report/events/styles.js';
import { openStore, sqlText, type Store } from '../../src/store/db.js';
import { createTableSql, INPUT_TABLES } from '../../src/store/schema.js';

const EXIT_FMT =
  '"vcpu %u reason %s rip 0x%lx", REC->vcpu_id, __print_symbolic(REC->exit_reason, {1024, "npf"}), REC->guest_rip';

let store: Store;

type FieldTuple = readonly [name: string, type: string, cType: string, radix: 10 | 16];

async function addType(
  traceId: number,
  name: string,
  fields: readonly FieldTuple[],
  printFmt: string | null,
  probe = 'NULL, NULL',
) {
  const [system, event] = name.split(':') as [string, string];
  const list = fields.map((f) => `{name: '${f[0]}', type: '${f[1]}', c_type: '${f[2]}', radix: ${f[3]}}`).join(', ');
  const table = `ev_${system}_${event}`;
  const [{ n }] = (await store.rows(`SELECT count(*) AS n FROM ${table} WHERE trace_id = ${traceId}`)) as [
    { n: bigint },
  ];
  await store.run(`INSERT INTO event_type VALUES
    (${traceId}, '${system}', '${event}', '${table}', NULL, [${list}], ${sqlText(printFmt)}, 'file', ${probe}, ${n})`);
}

const COMMON = 'trace_id UTINYINT, ts_ns BIGINT, cpu USMALLINT, tid INTEGER, seq BIGINT, flags USMALLINT';

beforeAll(async () => {
  store = await openStore(null);
  for (const table of INPUT_TABLES) await store.run(createTableSql(table));
  const trace = (id: number, format: string, unit = 'ns') =>
    `(${id}, 'a${id}', NULL, '${format}', '', '7.3.4', 'x86_64', 'mono', '${unit}', 1, 0, 0, 0, 0, 0, NULL, NULL, 2, NULL, [])`;
  await store.run(
    `INSERT INTO trace VALUES ${trace(1, 'trace.dat')}, ${trace(2, 'ftrace-text', 'count')}, ${trace(3, 'hyp-text')}`,
  );
  await store.run(
    `INSERT INTO task VALUES (1, 99, 97, 'CPU 0/KVM', NULL, NULL), (1, 97, 97, 'sh', NULL, NULL), (1, 97, 97, 'gmemvm', 2000000000, NULL)`,
  );
  await store.run(`
    CREATE TABLE ev_kvm_kvm_exit (${COMMON}, vcpu_id UINTEGER, exit_reason UINTEGER, guest_rip UBIGINT);
    INSERT INTO ev_kvm_kvm_exit VALUES
      (1, 1000000499, 0, 99, 64, 257, 0, 1024, 65536), (1, 2000000500, 1, 97, 80, 2, 1, 3, 0),
      (2, 29, 0, 99, 12, 65535, 0, 1024, 1);
    CREATE TABLE ev_syscalls_sys_enter_openat (${COMMON}, __syscall_nr INTEGER, dfd INTEGER, filename UBIGINT, mode UINTEGER);
    INSERT INTO ev_syscalls_sys_enter_openat VALUES (1, 1000000499, 1, 97, 8, 0, 257, -100, 157208288, 9);
    CREATE TABLE ev_syscalls_sys_exit_openat (${COMMON}, __syscall_nr INTEGER, ret BIGINT);
    INSERT INTO ev_syscalls_sys_exit_openat VALUES (1, 1500000000, 1, 97, 16, 0, 257, -2);
    CREATE TABLE ev_gmem_create (${COMMON}, __probe_ip UBIGINT, pid INTEGER, flags_ UBIGINT);
    INSERT INTO ev_gmem_create VALUES (1, 1600000000, 1, 97, 24, 0, 18446744071579054755, 97, 3);
    CREATE TABLE ev_gmem_create_ret (${COMMON}, __probe_func UBIGINT, __probe_ret_ip UBIGINT, fd INTEGER);
    INSERT INTO ev_gmem_create_ret VALUES (1, 1700000000, 1, 0, 32, 0, 18446744071579054755, 18446744071579030132, 6);
    CREATE TABLE ev_hyp_hyp_enter (${COMMON}, reason UTINYINT, vcpu INTEGER);
    INSERT INTO ev_hyp_hyp_enter VALUES (3, 7552922999, 0, NULL, 5, NULL, 4, 0);
    CREATE TABLE ev_ftrace_print (${COMMON}, ip UBIGINT, buf VARCHAR);
    INSERT INTO ev_ftrace_print VALUES (1, 1800000000, 0, 5, 96, 0, 1, E'hello\\nworld\\x01\\n');`);
  await addType(
    1,
    'kvm:kvm_exit',
    [
      ['vcpu_id', 'u32', 'unsigned int', 10],
      ['exit_reason', 'u32', 'unsigned int', 10],
      ['guest_rip', 'u64', 'unsigned long', 16],
    ],
    EXIT_FMT,
  );
  await addType(
    2,
    'kvm:kvm_exit',
    [
      ['vcpu_id', 'u32', 'unsigned int', 10],
      ['exit_reason', 'u32', 'unsigned int', 10],
      ['guest_rip', 'u64', 'unsigned long', 16],
    ],
    EXIT_FMT,
  );
  await addType(
    1,
    'syscalls:sys_enter_openat',
    [
      ['__syscall_nr', 'i32', 'int', 10],
      ['dfd', 'i32', 'int', 10],
      ['filename', 'u64', 'const char *', 16],
      ['mode', 'u32', 'umode_t', 10],
    ],
    '"dfd: 0x%08lx, filename: 0x%08lx, mode: 0x%08lx", ((unsigned long)(REC->dfd)), ((unsigned long)(REC->filename)), ((unsigned long)(REC->mode))',
  );
  await addType(
    1,
    'syscalls:sys_exit_openat',
    [
      ['__syscall_nr', 'i32', 'int', 10],
      ['ret', 'i64', 'long', 16],
    ],
    '"0x%lx", REC->ret',
  );
  await addType(
    1,
    'gmem:create',
    [
      ['__probe_ip', 'u64', 'unsigned long', 16],
      ['pid', 'i32', 's32', 10],
      ['flags', 'u64', 'u64', 10],
    ],
    '"(%lx) pid=%d flags=%Lu", REC->__probe_ip, REC->pid, REC->flags',
    `'kvm_gmem_create', false`,
  );
  await addType(
    1,
    'gmem:create_ret',
    [
      ['__probe_func', 'u64', 'unsigned long', 16],
      ['__probe_ret_ip', 'u64', 'unsigned long', 16],
      ['fd', 'i32', 's32', 10],
    ],
    '"(%lx <- %lx) fd=%d", REC->__probe_func, REC->__probe_ret_ip, REC->fd',
    `'kvm_gmem_create', true`,
  );
  await addType(
    3,
    'hyp:hyp_enter',
    [
      ['reason', 'u8', 'u8', 10],
      ['vcpu', 'i32', 'pid_t', 10],
    ],
    '"reason=%s vcpu=%d", __hyp_enter_exit_reason_str(REC->reason), REC->vcpu',
  );
  await addType(
    1,
    'ftrace:print',
    [
      ['ip', 'u64', 'unsigned long', 16],
      ['buf', 'string', 'char[]', 10],
    ],
    '"%ps: %s", (void *)REC->ip, REC->buf',
  );
});

afterAll(() => {
  store.close();
});

async function lines(style: LineStyle, query: EventQuery = {}, tgid = false): Promise<string[]> {
  const selection = await selectEvents(store, query);
  const write = lineWriter(await readTraceFacts(store), selection.types, selection.tasks, style, {
    tgid,
    nanoseconds: false,
  });
  const out: string[] = [];
  for await (const batch of readEvents(store, selection)) for (const event of batch) out.push(write(event));
  return out;
}

describe('line styles', () => {
  it('kernel: the line of the trace file, in order of time, CPU and position', async () => {
    expect(await lines('kernel')).toMatchInlineSnapshot(`
      [
        "           <...>-99      [000]            29: kvm_exit: vcpu 0 reason npf rip 0x1",
        "       CPU 0/KVM-99      [000] d..1.     1.000000: kvm_exit: vcpu 0 reason npf rip 0x10000",
        "              sh-97      [001] .....     1.000000: sys_openat(dfd: -100, filename: 0x95ecee0, mode: 9)",
        "              sh-97      [001] .....     1.500000: sys_openat -> 0xfffffffffffffffe",
        "              sh-97      [001] .....     1.600000: create: (kvm_gmem_create) pid=97 flags=3",
        "          <idle>-0       [001] .....     1.700000: create_ret: (ffffffff8102d274 <- kvm_gmem_create) fd=6",
        "           <...>-5       [000] .....     1.800000: print: hello\\nworld\\x01",
        "          gmemvm-97      [001] .l...     2.000001: kvm_exit: vcpu 1 reason 0x3 rip 0x0",
        "[000]	    7.552922: hyp_enter reason=host_abort vcpu=0",
      ]
    `);
  });

  it('kernel with tgid', async () => {
    expect(await lines('kernel', { events: ['kvm_exit'] }, true)).toMatchInlineSnapshot(`
      [
        "           <...>-99      (-------) [000]            29: kvm_exit: vcpu 0 reason npf rip 0x1",
        "       CPU 0/KVM-99      (     97) [000] d..1.     1.000000: kvm_exit: vcpu 0 reason npf rip 0x10000",
        "          gmemvm-97      (     97) [001] .l...     2.000001: kvm_exit: vcpu 1 reason 0x3 rip 0x0",
      ]
    `);
  });

  it('trace-cmd', async () => {
    expect(await lines('trace-cmd', { events: ['kvm:*', 'sys_*', 'create*'] })).toMatchInlineSnapshot(`
      [
        "           <...>-99    [000]            29: kvm_exit:             vcpu 0 reason npf rip 0x1",
        "       CPU 0/KVM-99    [000] d..1.     1.000000: kvm_exit:             vcpu 0 reason npf rip 0x10000",
        "              sh-97    [001] .....     1.000000: sys_enter_openat:     dfd: -100, filename: 0x095ecee0, mode: 0x00000009",
        "              sh-97    [001] .....     1.500000: sys_exit_openat:      0xfffffffffffffffe",
        "              sh-97    [001] .....     1.600000: create:               (ffffffff810332a3) pid=97 flags=3",
        "          <idle>-0     [001] .....     1.700000: create_ret:           (ffffffff810332a3 <- ffffffff8102d274) fd=6",
        "          gmemvm-97    [001] .l...     2.000001: kvm_exit:             vcpu 1 reason 0x3 rip 0x0",
      ]
    `);
  });

  it('perf: microseconds cut off, names aligned to the longest', async () => {
    expect(await lines('perf', { systems: ['kvm', 'syscalls', 'gmem'] })).toMatchInlineSnapshot(`
      [
        "             :99      99 [000]           29:              kvm:kvm_exit: vcpu 0 reason npf rip 0x1",
        "       CPU 0/KVM      99 [000]     1.000000:              kvm:kvm_exit: vcpu 0 reason npf rip 0x10000",
        "              sh      97 [001]     1.000000: syscalls:sys_enter_openat: dfd: -100, filename: 0x095ecee0, mode: 0x00000009",
        "              sh      97 [001]     1.500000:  syscalls:sys_exit_openat: 0xfffffffffffffffe",
        "              sh      97 [001]     1.600000:               gmem:create: (ffffffff810332a3) pid=97 flags=3",
        "         swapper       0 [001]     1.700000:           gmem:create_ret: (ffffffff810332a3 <- ffffffff8102d274) fd=6",
        "          gmemvm      97 [001]     2.000000:              kvm:kvm_exit: vcpu 1 reason 0x3 rip 0x0",
      ]
    `);
  });

  it('raw: fields with the conversions of the print fmt', async () => {
    expect(await lines('raw', { systems: ['kvm', 'gmem'] })).toMatchInlineSnapshot(`
      [
        "           <...>-99    [000]           29: kvm_exit:              vcpu_id=0 exit_reason=1024 guest_rip=0x1",
        "       CPU 0/KVM-99    [000]-0x1     1.000000: kvm_exit:              vcpu_id=0 exit_reason=1024 guest_rip=0x10000",
        "              sh-97    [001]-0x0     1.600000: create:                __probe_ip=ffffffff810332a3 pid=97 flags=3",
        "          <idle>-0     [001]-0x0     1.700000: create_ret:            __probe_func=ffffffff810332a3 __probe_ret_ip=ffffffff8102d274 fd=6",
        "          gmemvm-97    [001]-0x2     2.000001: kvm_exit:              vcpu_id=1 exit_reason=3 guest_rip=0x0",
      ]
    `);
  });
});

describe('flag characters', () => {
  it.each([
    [0x0000, '.....'],
    [0x0201, 'd..2.'],
    [0x1081, 'D...1'],
    [0x0080, 'b....'],
    [0x0002, '.l...'],
    [0x0024, '.N...'],
    [0x0004, '.n...'],
    [0x0020, '.p...'],
    [0x0026, '.B...'],
    [0x0022, '.L...'],
    [0x0006, '.b...'],
    [0x0018, '..H..'],
    [0x0048, '..Z..'],
    [0x0040, '..z..'],
    [0xa008, '..h.a'],
  ])('%i → %s', (flags, expected) => {
    expect(flagCharacters(flags, true)).toBe(expected);
  });

  it('bit 1 is "unsupported" before 6.13', () => {
    expect(flagCharacters(2, hasLazyResched('6.12.107+deb13'))).toBe('X....');
    expect(flagCharacters(2, hasLazyResched('6.18.44'))).toBe('.l...');
    expect(hasLazyResched('7.3.4')).toBe(true);
    expect(hasLazyResched(null)).toBe(true);
  });
});

describe('selection', () => {
  it.each([
    [{ events: ['kvm_*'] }, 3],
    [{ events: ['kvm:kvm_exit', '*openat'] }, 5],
    [{ systems: ['syscalls'] }, 2],
    [{ tasks: ['99'] }, 2],
    [{ tasks: ['CPU */KVM'] }, 1],
    [{ tasks: ['gmemvm'] }, 1],
    [{ tasks: ['<idle>'] }, 1],
    [{ cpus: [1], systems: ['kvm'] }, 1],
    [{ fromNs: 1_500_000_000n, toNs: 1_700_000_000n }, 2],
    [{ where: 'exit_reason = 1024' }, 2],
    [{ where: "event LIKE 'kvm%' OR system = 'gmem'" }, 5],
    [{ tasks: ['nobody'] }, 0],
  ] as const)('%o gives %i events', async (query, expected) => {
    expect(await lines('kernel', query)).toHaveLength(expected);
  });

  it('counts by event without reading them', async () => {
    const selection = await selectEvents(store, { events: ['kvm_exit', 'sys_*'] });
    expect(await countEvents(store, selection)).toEqual([1 + 1, 1, 1, 1]);
  });

  it('names what there is where a pattern matches nothing', async () => {
    await expect(selectEvents(store, { events: ['kvm_exti'] })).rejects.toMatchObject({
      code: 'usage',
      message: 'no event matches "kvm_exti"',
    });
  });

  it.each(['nothing_like_it = 1', '1 = ', '1); DROP TABLE task; SELECT (1'])('refuses --where %s', async (where) => {
    await expect(selectEvents(store, { where })).rejects.toMatchObject({ code: 'usage' });
    expect(await store.rows('SELECT count(*) AS n FROM task')).toEqual([{ n: 3n }]);
  });
});

describe('order and memory', () => {
  it('cuts a long trace into windows without losing or reordering an event', async () => {
    const big = await openStore(null);
    for (const table of INPUT_TABLES) await big.run(createTableSql(table));
    await big.run(`
      CREATE TABLE ev_a_x (${COMMON}, k UINTEGER);
      INSERT INTO ev_a_x SELECT 1, CASE WHEN i < 60000 THEN 1000 + i // 9 ELSE i * i END, i % 3, 7, i, 0, i FROM range(100000) t(i);
      INSERT INTO event_type VALUES (1, 'a', 'x', 'ev_a_x', NULL, [{name: 'k', type: 'u32', c_type: 'u32', radix: 10}], NULL, 'file', NULL, NULL, 100000)`);
    const selection = await selectEvents(big, {});
    const sizes: number[] = [];
    const seen = new Set<bigint>();
    let before = { tsNs: -1n, cpu: -1, seq: -1n };
    for await (const batch of readEvents(big, selection)) {
      sizes.push(batch.length);
      for (const event of batch) {
        seen.add(event.seq);
        const later =
          event.tsNs > before.tsNs ||
          (event.tsNs === before.tsNs &&
            (event.cpu > before.cpu || (event.cpu === before.cpu && event.seq > before.seq)));
        if (!later) throw new Error(`event ${event.seq} out of order`);
        before = event;
      }
    }
    big.close();
    expect(seen.size).toBe(100_000);
    expect(Math.max(...sizes)).toBeLessThanOrEqual(32_768);
  });
});

describe('evidence', () => {
  it('prints the lines of keys in their order, with positions by format', async () => {
    const found = await readEventLines(store, [
      { traceId: 2, cpu: 0, seq: 12n, tsNs: 29n },
      { traceId: 1, cpu: 1, seq: 8n, tsNs: 1_000_000_499n },
      { traceId: 1, cpu: 0, seq: 999n, tsNs: 5n },
    ]);
    expect(found).toMatchInlineSnapshot(`
      [
        {
          "position": "line 12",
          "text": "<...>-99      [000]            29: kvm_exit: vcpu 0 reason npf rip 0x1",
        },
        {
          "position": "cpu 1 byte 8",
          "text": "sh-97      [001] .....     1.000000: sys_openat(dfd: -100, filename: 0x95ecee0, mode: 9)",
        },
        {
          "position": "cpu 0 byte 999",
          "text": "",
        },
      ]
    `);
  });
});
