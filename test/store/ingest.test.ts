import { describe, expect, it } from 'vitest';
import { TraceError } from '../../src/base/errors.js';
import type { ColumnType } from '../../src/parse/model.js';
import { ingestAll } from '../../src/store/ingest.js';
import { fakeReader, schemaOf, type FakeEvents, type FieldValue } from './fake-reader.js';
import { memoryStore } from './open.js';

const ALL_TYPES = {
  a: 'u8',
  b: 'u16',
  c: 'u32',
  d: 'u64',
  e: 'i8',
  f: 'i16',
  g: 'i32',
  h: 'i64',
  i: 'bool',
  j: 'string',
} as const;

function input(
  given: readonly FakeEvents[],
  path = 'x.dat',
): { path: string; reader: ReturnType<typeof fakeReader>; sha256: null } {
  return { path, reader: fakeReader(given), sha256: null };
}

describe('ingestAll', () => {
  it('stores every field type with its NULLs beside the common columns', async () => {
    const store = await memoryStore();
    const rows: FieldValue[][] = [
      [255, 65535, 0xffff_ffff, 2n ** 64n - 1n, -128, -32768, -(2 ** 31), -(2n ** 63n), true, 'CPU 0/KVM'],
      [null, null, null, null, null, null, null, null, null, null],
      [0, 0, 0, 0n, 0, 0, 0, 0n, false, 'a comm that is longer than it can be'],
    ];
    await ingestAll(store, [input([{ schema: schemaOf('kvm', 'kvm_exit', ALL_TYPES), rows }])]);
    const stored = await store.rows('FROM ev_kvm_kvm_exit ORDER BY ts_ns');
    expect(stored[0]).toEqual({
      trace_id: 1,
      ts_ns: 1000n,
      cpu: 0,
      tid: 100,
      seq: 0n,
      flags: 0,
      ...Object.fromEntries(Object.keys(ALL_TYPES).map((name, k) => [name, rows[0]![k]])),
    });
    expect(stored.map((row) => Object.keys(ALL_TYPES).map((name) => row[name]))).toEqual(rows);
  });

  it('loads batches of many tracepoints in turn, more rows than a vector', async () => {
    const store = await memoryStore();
    const many = (n: number): FieldValue[][] => Array.from({ length: n }, (_, i) => [BigInt(i), `t${i % 300}`]);
    const exit = schemaOf('kvm', 'kvm_exit', { rip: 'u64', comm: 'string' });
    const entry = schemaOf('kvm', 'kvm_entry', { rip: 'u64', comm: 'string' });
    const given = [
      { schema: exit, rows: many(3000) },
      { schema: entry, rows: many(2048) },
      { schema: exit, rows: many(1) },
      { schema: entry, rows: [] },
      { schema: exit, rows: many(5000) },
    ];
    await ingestAll(store, [input(given)]);
    expect(
      await store.rows(
        `SELECT name, count(*)::INTEGER AS n FROM event WHERE system = 'kvm' AND trace_id = 1 GROUP BY ALL ORDER BY name`,
      ),
    ).toEqual([
      { name: 'kvm_entry', n: 2048 },
      { name: 'kvm_exit', n: 8001 },
    ]);
    expect(await store.rows('SELECT sum(rip)::INTEGER AS sum FROM ev_kvm_kvm_exit')).toEqual([
      { sum: (3000 * 2999 + 5000 * 4999) / 2 },
    ]);
    expect(await store.rows('SELECT table_name, rows FROM event_type ORDER BY name')).toEqual([
      { table_name: 'ev_kvm_kvm_entry', rows: 2048n },
      { table_name: 'ev_kvm_kvm_exit', rows: 8001n },
    ]);
  });

  it('keeps what the reader says of the trace', async () => {
    const store = await memoryStore();
    const given = [{ schema: schemaOf('kvm', 'kvm_exit', { "it's": 'u8' }), rows: [[1]] }];
    const reader = fakeReader(given, {
      lost: [
        { cpu: 1, fromNs: 5n, toNs: null, count: 10, source: 'page-header' },
        { cpu: null, fromNs: null, toNs: 7n, count: 3, source: 'overwritten' },
      ],
      skipped: [{ reason: 'bad page', count: 2, first: 'byte 69632' }],
      tasks: [
        { tid: 9, tgid: 9, comm: 'b', fromNs: 50n },
        { tid: 9, tgid: null, comm: 'a', fromNs: null },
        { tid: 8, tgid: 8, comm: null, fromNs: 60n },
      ],
    });
    await ingestAll(store, [{ path: "o'neil.dat", reader, sha256: 'ab', clockOffsetNs: -5n }], { clock: 'boot' });
    expect(reader.options).toMatchObject({ clock: 'boot', clockOffsetNs: -5n });
    expect(await store.rows('FROM trace')).toMatchObject([
      {
        trace_id: 1,
        path: "o'neil.dat",
        sha256: 'ab',
        clock_offset_ns: -5n,
        first_ns: 1000n,
        events: 1n,
        lost: 13n,
        recorder: "trace-cmd '3.3.1'",
        host: null,
        enabled_events: ['kvm:kvm_exit', 'kvm:kvm_entry'],
        notes: [],
      },
    ]);
    expect(await store.rows('FROM lost ORDER BY count')).toEqual([
      { trace_id: 1, cpu: null, from_ns: null, to_ns: 7n, count: 3n, source: 'overwritten' },
      { trace_id: 1, cpu: 1, from_ns: 5n, to_ns: null, count: 10n, source: 'page-header' },
    ]);
    expect(await store.rows('FROM skipped')).toEqual([
      { trace_id: 1, reason: 'bad page', count: 2n, first: 'byte 69632' },
    ]);
    expect(await store.rows('FROM task ORDER BY tid, from_ns NULLS FIRST')).toEqual([
      { trace_id: 1, tid: 8, tgid: 8, comm: null, from_ns: 60n, to_ns: null },
      { trace_id: 1, tid: 9, tgid: null, comm: 'a', from_ns: null, to_ns: 50n },
      { trace_id: 1, tid: 9, tgid: 9, comm: 'b', from_ns: 50n, to_ns: null },
    ]);
    expect(
      await store.rows('SELECT id, fields, print_fmt, format_source, probe_fn, probe_return FROM event_type'),
    ).toEqual([
      {
        id: 7,
        fields: [{ name: "it's", type: 'u8', c_type: 'c u8', radix: 16 }],
        print_fmt: '"x=%d", REC->x',
        format_source: 'file',
        probe_fn: null,
        probe_return: null,
      },
    ]);
  });

  it('says NULL of a loss that has no count', async () => {
    const store = await memoryStore();
    const stretch = { cpu: 0, fromNs: 1n, toNs: 2n, source: 'page-header' };
    const reader = fakeReader([], {
      lost: [
        { ...stretch, count: 5 },
        { ...stretch, count: null },
      ],
    });
    await ingestAll(store, [{ path: 'x', reader, sha256: null }]);
    expect(await store.rows('SELECT lost FROM trace')).toEqual([{ lost: null }]);
    expect(await store.rows('FROM event')).toEqual([]);
  });

  it('gives a field another column name where the name is taken', async () => {
    const store = await memoryStore();
    const schema = schemaOf('sched', 'x-y', { cpu: 'u32', cpu_: 'u8', Foo: 'u8', foo: 'u8', '': 'u8', 'a"b': 'u8' });
    await ingestAll(store, [input([{ schema, rows: [[1, 2, 3, 4, 5, 6]] }])]);
    expect(await store.rows('SELECT * EXCLUDE (trace_id, ts_ns, cpu, tid, seq, flags) FROM ev_sched_x_y')).toEqual([
      { cpu_: 1, cpu__: 2, Foo: 3, foo_: 4, _: 5, 'a"b': 6 },
    ]);
  });

  it('gives events that differ only in case or punctuation tables of their own', async () => {
    const store = await memoryStore();
    const given = ['a-b', 'a_b', 'A_B'].map((name) => ({ schema: schemaOf('s', name, { x: 'u8' }), rows: [[1]] }));
    await ingestAll(store, [input(given)]);
    expect(await store.rows('SELECT name, table_name FROM event_type ORDER BY table_name')).toEqual([
      { name: 'A_B', table_name: 'ev_s_A_B_3' },
      { name: 'a-b', table_name: 'ev_s_a_b' },
      { name: 'a_b', table_name: 'ev_s_a_b_2' },
    ]);
    expect(await store.rows('SELECT count(*)::INTEGER AS n FROM event')).toEqual([{ n: 3 }]);
  });

  const widenings: readonly (readonly [
    ColumnType,
    FieldValue,
    ColumnType,
    FieldValue,
    string,
    readonly FieldValue[],
  ])[] = [
    ['u8', 200, 'u32', 2 ** 31, 'UINTEGER', [200, 2 ** 31]],
    ['u32', 2 ** 32 - 1, 'u64', 2n ** 63n, 'UBIGINT', [2n ** 32n - 1n, 2n ** 63n]],
    ['i8', -1, 'i64', -(2n ** 40n), 'BIGINT', [-1n, -(2n ** 40n)]],
    ['u8', 255, 'i8', -1, 'SMALLINT', [255, -1]],
    ['u32', 2 ** 32 - 1, 'i32', -1, 'BIGINT', [2n ** 32n - 1n, -1n]],
    ['u64', 2n ** 64n - 1n, 'i64', -1n, 'HUGEINT', [2n ** 64n - 1n, -1n]],
    ['i32', -5, 'u64', 2n ** 64n - 1n, 'HUGEINT', [-5n, 2n ** 64n - 1n]],
    ['bool', true, 'u8', 7, 'UTINYINT', [1, 7]],
    ['bool', true, 'string', 'x', 'VARCHAR', ['true', 'x']],
    ['i32', -5, 'string', 'x', 'VARCHAR', ['-5', 'x']],
    ['u64', 2n ** 64n - 1n, 'string', null, 'VARCHAR', ['18446744073709551615', null]],
  ];

  it.each(widenings)('widens %s %s and %s %s to one column', async (a, first, b, second, type, expected) => {
    for (const [one, other] of [
      [
        { type: a, value: first },
        { type: b, value: second },
      ],
      [
        { type: b, value: second },
        { type: a, value: first },
      ],
    ] as const) {
      const store = await memoryStore();
      const schemas = [one, other].map((side) => ({
        schema: schemaOf('s', 'e', { x: side.type }),
        rows: [[side.value], [null]],
      }));
      // The first schema comes again after the table has changed.
      await ingestAll(store, [input([schemas[0]!]), input([schemas[1]!, schemas[0]!])]);
      const rows = await store.rows(
        'SELECT x, typeof(x) AS type, count(*)::INTEGER AS n FROM ev_s_e GROUP BY ALL ORDER BY x',
      );
      expect(new Set(rows.map((row) => row['x']))).toEqual(new Set([...expected, null]));
      expect(new Set(rows.map((row) => row['type']))).toEqual(new Set([type]));
    }
  });

  it('adds columns that only some traces have', async () => {
    const store = await memoryStore();
    const old = { schema: schemaOf('kvm', 'kvm_exit', { rip: 'u64', info: 'u32' }), rows: [[1n, 2]] };
    const young = { schema: schemaOf('kvm', 'kvm_exit', { extra: 'string', info: 'u64' }), rows: [['e', 4n]] };
    await ingestAll(store, [input([old, young, old], 'one'), input([young], 'two')]);
    expect(await store.rows('SELECT trace_id, rip, info, extra FROM ev_kvm_kvm_exit ORDER BY ALL')).toEqual([
      { trace_id: 1, rip: 1n, info: 2n, extra: null },
      { trace_id: 1, rip: 1n, info: 2n, extra: null },
      { trace_id: 1, rip: null, info: 4n, extra: 'e' },
      { trace_id: 2, rip: null, info: 4n, extra: 'e' },
    ]);
    expect(await store.rows('SELECT trace_id, path FROM trace ORDER BY trace_id')).toEqual([
      { trace_id: 1, path: 'one' },
      { trace_id: 2, path: 'two' },
    ]);
  });

  it('leaves nothing behind when a reader fails', async () => {
    const store = await memoryStore();
    const schema = schemaOf('kvm', 'kvm_exit', { rip: 'u64' });
    const rows = Array.from({ length: 3000 }, (_, i) => [BigInt(i)]);
    const failing = fakeReader(
      [
        { schema, rows },
        { schema, rows },
      ],
      {},
      (k) => {
        if (k === 1) throw new TraceError('corrupt', 'page 17 is broken');
      },
    );
    const load = ingestAll(store, [input([{ schema, rows }]), { path: 'bad', reader: failing, sha256: null }]);
    await expect(load).rejects.toMatchObject({ code: 'corrupt', message: 'page 17 is broken' });
    expect(await store.rows('SELECT table_name FROM duckdb_tables()')).toEqual([]);
  });

  it('stops when it is cancelled', async () => {
    const store = await memoryStore();
    const abort = new AbortController();
    const schema = schemaOf('kvm', 'kvm_exit', { rip: 'u64' });
    const reader = fakeReader(
      [
        { schema, rows: [[1n]] },
        { schema, rows: [[1n]] },
      ],
      {},
      (k) => {
        if (k === 1) abort.abort();
      },
    );
    const load = ingestAll(store, [{ path: 'x', reader, sha256: null }], { signal: abort.signal });
    await expect(load).rejects.toMatchObject({ code: 'cancelled' });
  });

  it('refuses more inputs than there are trace ids', async () => {
    const store = await memoryStore();
    const inputs = Array.from({ length: 256 }, () => input([]));
    await expect(ingestAll(store, inputs)).rejects.toMatchObject({ code: 'usage' });
  });
});
