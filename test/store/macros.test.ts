import { describe, expect, it } from 'vitest';
import { openRowWriter } from '../../src/store/bulk.js';
import type { Store } from '../../src/store/db.js';
import { RESULT_TABLES } from '../../src/store/schema.js';
import { createTables, macroTexts } from '../../src/store/tables.js';
import { memoryStore } from './open.js';

type Rows = readonly Readonly<Record<string, string | number | bigint | null>>[];

async function storeWith(table: string, rows: Rows): Promise<Store> {
  const store = await memoryStore();
  await createTables(store);
  const writer = openRowWriter(
    store,
    RESULT_TABLES.find((t) => t.name === table)!,
  );
  for (const row of rows) writer.add(row);
  writer.close();
  return store;
}

const PAGE = 4096;

function interval(
  offset: number,
  pages: number,
  from: number,
  to: number | null,
  state: string,
  certainty = 'observed',
) {
  return {
    vm_id: 1,
    gmem_id: 1,
    gpa: offset * PAGE + 0x10_0000,
    offset: offset * PAGE,
    size: pages * PAGE,
    from_ns: from,
    to_ns: to,
    allocation: 'allocated',
    attribute: state,
    shareability: 'unknown',
    conversion: 'idle',
    state,
    certainty,
  };
}

describe('state_at', () => {
  it('takes a range from its first ns up to, not including, its last', async () => {
    const store = await storeWith('gmem_interval', [
      interval(0, 4, 10, 20, 'private'),
      interval(0, 4, 20, null, 'shared'),
      interval(4, 1, 15, null, 'private'),
    ]);
    const at = async (t: number): Promise<unknown[]> =>
      (await store.rows(`SELECT "offset", state FROM state_at(${t})`)).map((row) => [row['offset'], row['state']]);
    expect(await at(9)).toEqual([]);
    expect(await at(10)).toEqual([[0n, 'private']]);
    expect(await at(19)).toEqual([
      [0n, 'private'],
      [16384n, 'private'],
    ]);
    expect(await at(20)).toEqual([
      [0n, 'shared'],
      [16384n, 'private'],
    ]);
  });
});

describe('state_diff', () => {
  it('cuts ranges at the borders of both sides', async () => {
    const store = await storeWith('gmem_interval', [
      interval(0, 8, 10, 20, 'private'),
      interval(0, 2, 20, null, 'private', 'inferred'),
      interval(2, 3, 20, null, 'shared', 'inferred'),
      interval(5, 3, 20, null, 'private'),
      interval(8, 1, 20, null, 'shared'),
    ]);
    expect(await store.rows('FROM state_diff(15, 25)')).toEqual([
      {
        vm_id: 1,
        gmem_id: 1,
        gpa: BigInt(2 * PAGE + 0x10_0000),
        offset: BigInt(2 * PAGE),
        size: BigInt(3 * PAGE),
        state_before: 'private',
        state_after: 'shared',
        attribute_before: 'private',
        attribute_after: 'shared',
        certainty: 'inferred',
      },
      {
        vm_id: 1,
        gmem_id: 1,
        gpa: BigInt(8 * PAGE + 0x10_0000),
        offset: BigInt(8 * PAGE),
        size: BigInt(PAGE),
        state_before: null,
        state_after: 'shared',
        attribute_before: null,
        attribute_after: 'shared',
        certainty: 'unknown',
      },
    ]);
  });

  it('compares by gpa where no guest_memfd is known', async () => {
    const bare = (state: string, from: number, to: number | null) => ({
      ...interval(0, 2, from, to, state),
      gmem_id: null,
      offset: null,
    });
    const store = await storeWith('gmem_interval', [bare('private', 10, 20), bare('shared', 20, null)]);
    expect(await store.rows('SELECT gmem_id, gpa, "offset", size, state_after FROM state_diff(10, 20)')).toEqual([
      { gmem_id: null, gpa: 0x10_0000n, offset: null, size: 8192n, state_after: 'shared' },
    ]);
  });
});

function conversion(id: number, direction: string, request: number | null, resume: number | null, outcome = 'done') {
  return {
    conversion_id: id,
    vm_id: 1,
    direction,
    origin: 'explicit',
    request: 'map-gpa-range',
    mechanism: 'vm-attributes',
    outcome,
    request_ns: request,
    resume_ns: resume,
    stop_ns: request === null || resume === null ? null : resume - request,
    attempts: 1,
    failed_attempts: 0,
    chunks: 1,
    epoch: 0,
    certainty: 'observed',
  };
}

describe('conversions_between', () => {
  it('takes those under way at some time of the stretch', async () => {
    const store = await storeWith('conversion', [
      conversion(1, 'to_shared', 10, 20),
      conversion(2, 'to_shared', 15, 40),
      conversion(3, 'to_shared', 5, null, 'pending'),
      conversion(4, 'to_shared', 50, 60),
      conversion(5, 'to_shared', null, 30),
    ]);
    const ids = async (from: number, to: number): Promise<unknown[]> =>
      (await store.rows(`SELECT conversion_id FROM conversions_between(${from}, ${to})`)).map(
        (row) => row['conversion_id'],
      );
    expect(await ids(20, 29)).toEqual([1, 2, 3]);
    expect(await ids(21, 30)).toEqual([2, 3, 5]);
    expect(await ids(0, 4)).toEqual([]);
  });
});

describe('latency', () => {
  it('groups the stops by a column', async () => {
    const rows = Array.from({ length: 100 }, (_, i) =>
      conversion(i + 1, i < 90 ? 'to_shared' : 'to_private', 0, i + 1),
    );
    const store = await storeWith('conversion', [...rows, conversion(101, 'to_private', 5, null)]);
    expect(await store.rows(`FROM latency('direction')`)).toEqual([
      {
        value: 'to_private',
        count: 10n,
        unmeasured: 1n,
        min_ns: 91n,
        p50_ns: 95n,
        p90_ns: 99n,
        p99_ns: 100n,
        max_ns: 100n,
        mean_ns: 96n,
      },
      {
        value: 'to_shared',
        count: 90n,
        unmeasured: 0n,
        min_ns: 1n,
        p50_ns: 45n,
        p90_ns: 81n,
        p99_ns: 90n,
        max_ns: 90n,
        mean_ns: 46n,
      },
    ]);
  });

  it('names the columns that it knows', async () => {
    const store = await storeWith('conversion', [conversion(1, 'to_shared', 1, 2)]);
    await expect(store.rows(`FROM latency('colour')`)).rejects.toThrow('by is one of vm, vcpu, gmem, direction');
  });
});

it('every macro file makes the macro that it is named after', () => {
  for (const { name, sql } of macroTexts()) expect(sql).toContain(`CREATE OR REPLACE MACRO ${name}(`);
});
