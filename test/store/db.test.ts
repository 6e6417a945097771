import { describe, expect, it } from 'vitest';
import { lockDown, openStore, singleSelect } from '../../src/store/db.js';
import { memoryStore, temporaryFolder } from './open.js';

describe('rows', () => {
  it('gives plain values', async () => {
    const store = await memoryStore();
    const [row] = await store.rows(
      `SELECT 1::BIGINT AS big, 1::INTEGER AS small, 1.5 AS fraction, true AS flag, NULL AS nothing, 'ü' AS text,
       [1, NULL] AS list, {a: 1, b: ['x']} AS struct, MAP {'k': 2} AS map, 2::HUGEINT AS huge, DATE '2026-01-31' AS day`,
    );
    expect(row).toEqual({
      big: 1n,
      small: 1,
      fraction: 1.5,
      flag: true,
      nothing: null,
      text: 'ü',
      list: [1, null],
      struct: { a: 1, b: ['x'] },
      map: [{ key: 'k', value: 2 }],
      huge: 2n,
      day: '2026-01-31',
    });
  });

  it('reads every type, beyond one chunk and with NULLs', async () => {
    const store = await memoryStore();
    const rows = await store.rows(`
      SELECT i, i % 3 = 0 AS flag, if(i % 5 = 0, NULL, repeat('ä', i % 20)) AS word, -i::TINYINT % 100 AS tiny, i::USMALLINT AS small,
        i::UBIGINT * 4294967296 AS wide, -(i::HUGEINT * 18446744073709551616) - 1 AS huge, i / 8 AS half, (i / 4)::FLOAT AS quarter,
        if(i % 7 = 0, NULL, [x::VARCHAR FOR x IN range(i % 4)]) AS list, {a: i, b: if(i % 2 = 0, NULL, [{c: i % 9}])} AS struct
      FROM (SELECT (range % 100)::INTEGER AS i FROM range(5000))`);
    expect(rows).toHaveLength(5000);
    for (const [k, row] of rows.entries()) {
      const i = k % 100;
      expect(row).toEqual({
        i,
        flag: i % 3 === 0,
        word: i % 5 === 0 ? null : 'ä'.repeat(i % 20),
        tiny: -i % 100 || 0,
        small: i,
        wide: BigInt(i) << 32n,
        huge: -(BigInt(i) << 64n) - 1n,
        half: i / 8,
        quarter: i / 4,
        list: i % 7 === 0 ? null : Array.from({ length: i % 4 }, (_, n) => `${n}`),
        struct: { a: i, b: i % 2 === 0 ? null : [{ c: i % 9 }] },
      });
    }
  });

  it('tells columns of one name apart, also of rare types', async () => {
    const store = await memoryStore();
    expect(await store.rows('SELECT 1 AS n, 2 AS n, 3 AS n')).toEqual([{ n: 1, 'n:1': 2, 'n:2': 3 }]);
    expect(await store.rows(`SELECT 1 AS n, TIME '12:00:00' AS n`)).toEqual([{ n: 1, 'n:1': '12:00:00' }]);
    expect(await store.rows('SELECT [] AS nothing, 1.5 AS fraction WHERE false')).toEqual([]);
    expect(await store.rows('SELECT []::INTEGER[] AS nothing')).toEqual([{ nothing: [] }]);
  });

  it('passes the message of DuckDB on, with its caret', async () => {
    const store = await memoryStore();
    await expect(store.rows('SELECT 1 FROM range(3) WHERE nothing')).rejects.toMatchObject({
      name: 'TraceError',
      code: 'usage',
      message: expect.stringMatching(/"nothing" not found[^]*LINE 1:[^]*\^/) as string,
    });
  });

  it('ends a query that is interrupted', async () => {
    const store = await memoryStore();
    const endless = store.rows(
      'SELECT count(*) FROM range(1000000) AS a, range(1000000) AS b WHERE a.range * b.range = -1',
    );
    const stopped = expect(endless).rejects.toMatchObject({ code: 'cancelled' });
    setImmediate(() => store.interrupt());
    const again = setInterval(() => store.interrupt(), 20);
    await stopped;
    clearInterval(again);
  });
});

describe('openStore', () => {
  it('names the file that cannot be opened', async () => {
    const path = `${temporaryFolder()}/nowhere/x.duckdb`;
    await expect(openStore(path)).rejects.toMatchObject({ code: 'db', place: { input: path } });
  });
});

describe('lockDown', () => {
  it.each([
    `COPY (SELECT 1) TO 'out.csv'`,
    `SELECT * FROM read_text('/etc/hostname')`,
    `SELECT * FROM '/etc/hostname.csv'`,
    `ATTACH 'other.duckdb'`,
    `INSTALL httpfs`,
    `SET enable_external_access = true`,
    `RESET lock_configuration`,
    `SET memory_limit = '90GB'`,
  ])('denies %s', async (sql) => {
    const store = await memoryStore();
    await lockDown(store);
    await expect(store.run(sql)).rejects.toMatchObject({ code: 'usage' });
  });

  it('leaves queries alone', async () => {
    const store = await memoryStore();
    await store.run('CREATE TABLE t AS SELECT 1 AS a');
    await lockDown(store);
    expect(await store.rows('FROM t')).toEqual([{ a: 1 }]);
  });
});

describe('singleSelect', () => {
  it.each(['SELECT 1', 'WITH x AS (SELECT 1) SELECT * FROM x;', 'FROM range(3)', 'VALUES (1)'])(
    'accepts %s',
    async (sql) => {
      const store = await memoryStore();
      await expect(singleSelect(store, sql)).resolves.toBeUndefined();
    },
  );

  it.each([
    ['SELECT 1; DROP TABLE t', 'expected one SELECT, found 2 statements'],
    ['CREATE TABLE x (a INTEGER)', 'expected one SELECT, found CREATE'],
    [`COPY (SELECT 1) TO 'x'`, 'expected one SELECT, found COPY'],
    ['-- only a comment', 'expected a statement, found none'],
    ['SELECT 1 FRM x y', 'LINE 1: SELECT 1 FRM x y'],
  ])('refuses %s', async (sql, message) => {
    const store = await memoryStore();
    await expect(singleSelect(store, sql, 'rule-invalid')).rejects.toMatchObject({
      code: 'rule-invalid',
      message: expect.stringContaining(message) as string,
    });
  });
});
