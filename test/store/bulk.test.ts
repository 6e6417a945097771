import { describe, expect, it } from 'vitest';
import { openBulkWriter, openRowWriter, type BulkArray, type BulkColumn } from '../../src/store/bulk.js';
import type { Value } from '../../src/store/db.js';
import type { TableDef } from '../../src/store/schema.js';
import { memoryStore } from './open.js';

/** More than two DuckDB vectors, and not a whole number of them. */
const ROWS = 5000;

const KINDS: readonly (readonly [string, BulkArray, (i: number) => number | bigint | boolean])[] = [
  ['UTINYINT', Uint8Array.from({ length: ROWS }, (_, i) => i & 0xff), (i) => i & 0xff],
  ['USMALLINT', Uint16Array.from({ length: ROWS }, (_, i) => 65535 - i), (i) => 65535 - i],
  ['UINTEGER', Uint32Array.from({ length: ROWS }, (_, i) => 0xffff_ffff - i), (i) => 0xffff_ffff - i],
  [
    'UBIGINT',
    BigUint64Array.from({ length: ROWS }, (_, i) => 2n ** 64n - 1n - BigInt(i)),
    (i) => 2n ** 64n - 1n - BigInt(i),
  ],
  ['TINYINT', Int8Array.from({ length: ROWS }, (_, i) => (i % 256) - 128), (i) => (i % 256) - 128],
  ['SMALLINT', Int16Array.from({ length: ROWS }, (_, i) => -32768 + i), (i) => -32768 + i],
  ['INTEGER', Int32Array.from({ length: ROWS }, (_, i) => -(2 ** 31) + i), (i) => -(2 ** 31) + i],
  ['BIGINT', BigInt64Array.from({ length: ROWS }, (_, i) => -(2n ** 63n) + BigInt(i)), (i) => -(2n ** 63n) + BigInt(i)],
  ['BOOLEAN', Uint8Array.from({ length: ROWS }, (_, i) => i & 1), (i) => (i & 1) === 1],
  ['FLOAT', Float32Array.from({ length: ROWS }, (_, i) => i / 2), (i) => i / 2],
  ['DOUBLE', Float64Array.from({ length: ROWS }, (_, i) => i / 3), (i) => i / 3],
];

describe('BulkWriter', () => {
  it.each(KINDS)('writes %s and its NULLs and reads the same back', async (type, data, expected) => {
    const store = await memoryStore();
    await store.run(`CREATE TABLE t (i INTEGER, a ${type}, b ${type})`);
    const writer = openBulkWriter(store, 't');
    const index = Int32Array.from({ length: ROWS }, (_, i) => i);
    const valid = Uint8Array.from({ length: ROWS }, (_, i) => (i % 3 === 0 ? 0 : 1));
    writer.append(
      [
        { data: index, valid: null },
        { data, valid: null },
        { data, valid },
      ],
      ROWS,
    );
    writer.close();
    const rows = await store.rows('SELECT a, b FROM t ORDER BY i');
    expect(rows).toEqual(
      index.reduce<unknown[]>((all, i) => {
        all.push({ a: expected(i), b: i % 3 === 0 ? null : expected(i) });
        return all;
      }, []),
    );
  });

  it('writes texts of every length by id, while their table grows', async () => {
    const store = await memoryStore();
    await store.run('CREATE TABLE t (i INTEGER, s VARCHAR)');
    const writer = openBulkWriter(store, 't');
    const strings = ['', 'twelve bytes', 'thirteen byte', 'éééééé', 'ééééééé', 'a\u0000b', '\ud800 alone'];
    const expected = new Map<number, Value>();
    for (let round = 0; round < 3; round++) {
      const index = Int32Array.from({ length: ROWS }, (_, i) => round * ROWS + i);
      const ids = Uint32Array.from({ length: ROWS }, (_, i) => i % strings.length);
      const valid = round === 1 ? Uint8Array.from({ length: ROWS }, (_, i) => i & 1) : null;
      writer.append(
        [
          { data: index, valid: null },
          { data: ids, valid, strings },
        ],
        ROWS,
      );
      ids.forEach((id, i) => expected.set(index[i]!, valid?.[i] === 0 ? null : Buffer.from(strings[id]!).toString()));
      strings.push(`a text longer than twelve bytes, ${round}`, 'x'.repeat(3000 + round));
    }
    writer.close();
    const rows = await store.rows('SELECT s FROM t ORDER BY i');
    expect(rows.length).toBe(3 * ROWS);
    expect(rows.every((row, i) => row['s'] === expected.get(i))).toBe(true);
  });

  it('starts the cache of long texts anew without losing one', async () => {
    const store = await memoryStore();
    await store.run('CREATE TABLE t (a VARCHAR, b VARCHAR)');
    const writer = openBulkWriter(store, 't');
    // 50 MB of distinct long texts in each of two columns, above the cache's bound.
    const strings = Array.from({ length: 5000 }, (_, i) => `${i}:`.padEnd(10_000, 'x'));
    const ids = Uint32Array.from({ length: 5000 }, (_, i) => i);
    const column = { data: ids, valid: null, strings };
    for (let round = 0; round < 2; round++)
      writer.append([column, { data: ids, valid: null, strings: [...strings] }], 5000);
    writer.close();
    expect(
      await store.rows(
        `SELECT count(*)::INTEGER AS n, count(DISTINCT a)::INTEGER AS a, (count(*) FILTER (a = b))::INTEGER AS same,
         min(length(a))::INTEGER AS length FROM t`,
      ),
    ).toEqual([{ n: 10_000, a: 5000, same: 10_000, length: 10_000 }]);
  });

  it('repeats constants, and forgets NULLs of an earlier batch', async () => {
    const store = await memoryStore();
    await store.run('CREATE TABLE t (k UTINYINT, a BIGINT, s VARCHAR, b BOOLEAN)');
    const writer = openBulkWriter(store, 't');
    const batch = (k: number, a: bigint | null, s: string | null): readonly BulkColumn[] => [
      { constant: k },
      { constant: a },
      { constant: s },
      { constant: true },
    ];
    writer.append(batch(1, null, null), ROWS);
    writer.append(batch(2, -5n, 'a constant text, long'), ROWS);
    writer.append(
      [{ constant: 3 }, { data: new BigInt64Array([7n, 8n]), valid: null }, { constant: null }, { constant: null }],
      2,
    );
    writer.close();
    expect(await store.rows('SELECT *, count(*)::INTEGER AS n FROM t GROUP BY ALL ORDER BY ALL')).toEqual([
      { k: 1, a: null, s: null, b: true, n: ROWS },
      { k: 2, a: -5n, s: 'a constant text, long', b: true, n: ROWS },
      { k: 3, a: 7n, s: null, b: null, n: 1 },
      { k: 3, a: 8n, s: null, b: null, n: 1 },
    ]);
  });

  it.each<readonly [string, readonly BulkColumn[], string]>([
    [
      'another class of array',
      [{ data: new Int32Array(4), valid: null }],
      'column 0: BIGINT cannot be filled from a Int32Array',
    ],
    ['a signed array for an unsigned type', [{ data: new BigUint64Array(4), valid: null }], 'BigUint64Array'],
    ['too few values', [{ data: new BigInt64Array(3), valid: null }], 'column 0: 3 values for 4 rows'],
    [
      'too few marks of validity',
      [{ data: new BigInt64Array(4), valid: new Uint8Array(1) }],
      'column 0: 1 values for 4 rows',
    ],
    ['texts for numbers', [{ data: new Uint32Array(4), valid: null, strings: ['a'] }], 'BIGINT cannot be filled'],
    ['a constant of another type', [{ constant: 4 }], 'BIGINT cannot hold a number'],
    ['too many columns', [{ constant: 4n }, { constant: 4n }], '2 columns given, the table has 1'],
  ])('refuses %s before it copies', async (_, columns, message) => {
    const store = await memoryStore();
    await store.run('CREATE TABLE t (a BIGINT)');
    const writer = openBulkWriter(store, 't');
    expect(() => writer.append(columns, 4)).toThrow(message);
    writer.close();
    expect(await store.rows('FROM t')).toEqual([]);
  });

  it('reports a NULL where the table has none', async () => {
    const store = await memoryStore();
    await store.run('CREATE TABLE t (a BIGINT NOT NULL)');
    const writer = openBulkWriter(store, 't');
    writer.append([{ constant: null }], 1);
    expect(() => writer.close()).toThrow('NOT NULL constraint failed');
  });

  it('writes within the transaction that is open', async () => {
    const store = await memoryStore();
    await store.run('CREATE TABLE t (a BIGINT); BEGIN');
    const writer = openBulkWriter(store, 't');
    writer.append([{ constant: 1n }], 300_000);
    writer.discard();
    await store.run('ROLLBACK');
    expect(await store.rows('FROM t')).toEqual([]);
  });

  it('names a table that is not there', async () => {
    const store = await memoryStore();
    expect(() => openBulkWriter(store, 'nowhere')).toThrow('nowhere');
  });
});

const TABLE: TableDef = {
  name: 'result',
  doc: '',
  columns: [
    { name: 'id', type: 'INTEGER NOT NULL', doc: '' },
    { name: 'ns', type: 'BIGINT', doc: '' },
    { name: 'address', type: 'UBIGINT', doc: '' },
    { name: 'text', type: 'VARCHAR', doc: '' },
    { name: 'flag', type: 'BOOLEAN', doc: '' },
    { name: 'trace', type: 'UTINYINT', doc: '' },
  ],
};

describe('openRowWriter', () => {
  const create =
    'CREATE TABLE result (id INTEGER NOT NULL, ns BIGINT, address UBIGINT, text VARCHAR, flag BOOLEAN, trace UTINYINT)';

  it('writes rows given one by one, numbers and bigints alike', async () => {
    const store = await memoryStore();
    await store.run(create);
    const writer = openRowWriter(store, TABLE);
    writer.add({ id: -1, ns: -1, address: 2n ** 64n - 1n, text: 'ü', flag: true, trace: 255 });
    writer.add({ id: 0 });
    writer.add({
      id: 1,
      ns: Number.MIN_SAFE_INTEGER,
      address: Number.MAX_SAFE_INTEGER,
      text: '',
      flag: false,
      trace: null,
    });
    writer.add({ id: 2, ns: -(2n ** 63n), address: 0, text: null });
    for (let i = 3; i < ROWS; i++) writer.add({ id: i, ns: i * 1e6, text: `row number ${i}` });
    writer.close();
    writer.close();
    expect(await store.rows('FROM result ORDER BY id LIMIT 4')).toEqual([
      { id: -1, ns: -1n, address: 2n ** 64n - 1n, text: 'ü', flag: true, trace: 255 },
      { id: 0, ns: null, address: null, text: null, flag: null, trace: null },
      { id: 1, ns: -9007199254740991n, address: 9007199254740991n, text: '', flag: false, trace: null },
      { id: 2, ns: -(2n ** 63n), address: 0n, text: null, flag: null, trace: null },
    ]);
    expect(
      await store.rows(
        `SELECT count(*)::INTEGER AS n FROM result WHERE ns = id::BIGINT * 1000000 AND text = 'row number ' || id`,
      ),
    ).toEqual([{ n: ROWS - 3 }]);
  });

  it.each([
    [{ id: 2 ** 31 }, 'column id cannot hold 2147483648'],
    [{ id: 0.5 }, 'column id cannot hold 0.5'],
    [{ id: 1, ns: 2 ** 60 }, 'column ns cannot hold'],
    [{ id: 1, address: -1 }, 'column address cannot hold -1'],
    [{ id: 1, address: 2n ** 64n }, 'column address cannot hold'],
    [{ id: 1, text: 5 }, 'column text cannot hold 5'],
    [{ id: 1, trace: 256 }, 'column trace cannot hold 256'],
    [{ id: 1, txet: 'a' }, 'table result has no column txet'],
  ])('refuses %o', async (row, message) => {
    const store = await memoryStore();
    await store.run(create);
    const writer = openRowWriter(store, TABLE);
    expect(() => writer.add(row)).toThrow(message);
    writer.close();
  });
});
