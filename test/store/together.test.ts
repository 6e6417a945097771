import { describe, expect, it } from 'vitest';
import type { Store } from '../../src/store/db.js';
import { runTogether } from '../../src/store/together.js';
import { memoryStore } from './open.js';

const numberOf = (n: number) => async (store: Store) => (await store.rows(`SELECT ${n} AS n`))[0]!['n'];

describe('runTogether', () => {
  it('gives the results in the order of the tasks, of however many', async () => {
    const store = await memoryStore();
    expect(await runTogether(store, [])).toEqual([]);
    expect(await runTogether(store, [numberOf(1)])).toEqual([1]);
    expect(await runTogether(store, [1, 2, 3, 4, 5].map(numberOf))).toEqual([1, 2, 3, 4, 5]);
  });

  it('lets tasks write to one table', async () => {
    const store = await memoryStore();
    await store.run('CREATE TABLE t (a INTEGER)');
    const insert = (n: number) => (connection: Store) => connection.run(`INSERT INTO t VALUES (${n})`);
    await runTogether(store, [1, 2, 3, 4].map(insert));
    expect(await store.rows('FROM t ORDER BY a')).toEqual([{ a: 1 }, { a: 2 }, { a: 3 }, { a: 4 }]);
  });

  it('looks names up where the store does', async () => {
    const store = await memoryStore();
    const searchPath = "SET search_path = 'memory.other'";
    await store.run(`CREATE SCHEMA other; CREATE TABLE other.t AS SELECT 7 AS a; ${searchPath}`);
    store.native.searchPath = searchPath;
    const read = (connection: Store) => connection.rows('FROM t');
    expect(await runTogether(store, [read, read, read])).toEqual(Array(3).fill([{ a: 7 }]));
  });

  it('throws the failure of a task when nothing runs any more, and begins no other', async () => {
    const store = await memoryStore();
    await store.run('CREATE TABLE t (a INTEGER)');
    const write = (connection: Store) => connection.run('INSERT INTO t VALUES (1)');
    const fail = (connection: Store) => connection.run('SELECT nothing');
    await expect(runTogether(store, [fail, fail, write, write])).rejects.toMatchObject({ code: 'usage' });
    expect(await store.rows('FROM t')).toEqual([]);
    expect(store.native.beside.size).toBe(0);
  });

  it('is stopped by the interrupt of the store, on both connections', async () => {
    const store = await memoryStore();
    const endless = (connection: Store) =>
      connection.run('SELECT count(*) FROM range(1000000) AS a, range(1000000) AS b WHERE a.range * b.range = -1');
    const stopped = expect(runTogether(store, [endless, endless])).rejects.toMatchObject({ code: 'cancelled' });
    const again = setInterval(() => store.interrupt(), 20);
    await stopped;
    clearInterval(again);
    expect(await store.rows('SELECT 1 AS a')).toEqual([{ a: 1 }]);
  });
});
