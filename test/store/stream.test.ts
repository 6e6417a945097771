import { describe, expect, it } from 'vitest';
import { streamColumns } from '../../src/store/stream.js';
import { memoryStore } from './open.js';

describe('streamColumns', () => {
  it('gives each fixed-width type as its array', async () => {
    const store = await memoryStore();
    const types = [
      'UTINYINT',
      'USMALLINT',
      'UINTEGER',
      'UBIGINT',
      'TINYINT',
      'SMALLINT',
      'INTEGER',
      'BIGINT',
      'FLOAT',
      'DOUBLE',
      'BOOLEAN',
    ];
    const columns = types.map((type) => `(i % 100)::${type}`).join(', ');
    let rows = 0;
    for await (const chunk of streamColumns(store, `SELECT ${columns} FROM range(5000) AS r(i) ORDER BY i`)) {
      expect(chunk.columns.map((column) => column.constructor.name)).toEqual([
        'Uint8Array',
        'Uint16Array',
        'Uint32Array',
        'BigUint64Array',
        'Int8Array',
        'Int16Array',
        'Int32Array',
        'BigInt64Array',
        'Float32Array',
        'Float64Array',
        'Uint8Array',
      ]);
      const first = chunk.columns[1]!;
      expect(chunk.columns.every((column) => column.length === chunk.rows)).toBe(true);
      expect(first.every((value, i) => value === (rows + i) % 100)).toBe(true);
      expect([...chunk.columns[7]!].every((value, i) => Number(value) === first[i])).toBe(true);
      rows += chunk.rows;
    }
    expect(rows).toBe(5000);
  });

  it('keeps the order of the query, and what was given stays valid', async () => {
    const store = await memoryStore();
    const kept: Int32Array[] = [];
    const sql = 'SELECT i::INTEGER FROM range(100000) AS r(i) ORDER BY (i * 7919) % 100003';
    for await (const { columns } of streamColumns(store, sql)) kept.push(columns[0] as Int32Array);
    const all = kept.flatMap((column) => [...column]);
    expect(all.length).toBe(100_000);
    expect(all.every((value, k) => k === 0 || (all[k - 1]! * 7919) % 100_003 < (value * 7919) % 100_003)).toBe(true);
  });

  it('lets the store write and query while it reads, and stops early', async () => {
    const store = await memoryStore();
    await store.run(
      'CREATE TABLE source AS SELECT i::INTEGER AS i FROM range(100000) AS r(i); CREATE TABLE seen (n INTEGER)',
    );
    let chunks = 0;
    for await (const chunk of streamColumns(store, 'FROM source ORDER BY i')) {
      await store.run(`INSERT INTO seen VALUES (${chunk.rows})`);
      if (++chunks === 3) break;
    }
    expect(await store.rows('SELECT count(*)::INTEGER AS chunks FROM seen')).toEqual([{ chunks: 3 }]);
  });

  it.each([
    ["SELECT 'text' AS t", 'column t of a stream has no fixed width'],
    ['SELECT 1; SELECT 2', 'expected one query, found 2 statements'],
    ['SELECT nothing', 'Binder Error'],
    ['SELEC 1', 'LINE 1: SELEC 1'],
    ['', 'expected a statement, found none'],
  ])('says what is wrong with %o', async (sql, message) => {
    const store = await memoryStore();
    await expect(streamColumns(store, sql).next()).rejects.toThrow(message);
  });

  it('reports a failure in the middle of a result', async () => {
    const store = await memoryStore();
    const sql = `SELECT CASE WHEN i = 50000 THEN error('broken row') ELSE i END::INTEGER FROM range(100000) AS r(i)`;
    const read = async (): Promise<number> => {
      let rows = 0;
      for await (const chunk of streamColumns(store, sql)) rows += chunk.rows;
      return rows;
    };
    await expect(read()).rejects.toThrow('broken row');
  });
});
