import { afterEach, describe, expect, it } from 'vitest';
import {
  addRow,
  closeSpill,
  getNumber,
  makePagedRows,
  makeSpill,
  setNumber,
  type Spill,
} from '../../src/replay/paged-rows.js';

const spills: Spill[] = [];

function openSpill(): Spill {
  const spill = makeSpill();
  spills.push(spill);
  return spill;
}

afterEach(() => spills.splice(0).forEach(closeSpill));

describe('paged rows', () => {
  it('hold what was set, in memory or out of it, whatever the order of reading and changing', () => {
    const spill = openSpill();
    const rows = makePagedRows(3, 0, spill);
    const other = makePagedRows(2, 0, spill);
    const expected: number[] = [];
    for (let k = 0; k < 20_000; k++) {
      expect(addRow(rows)).toBe(k);
      setNumber(rows, k, 1, k / 3);
      expected.push(k / 3);
      setNumber(other, addRow(other), 0, -k);
      const earlier = (k * 7919) % (k + 1);
      if (k % 50 === 0) {
        setNumber(rows, earlier, 1, -k);
        expected[earlier] = -k;
      }
    }
    expect(rows.held.length).toBeLessThanOrEqual(2);
    expect(expected.map((_, k) => getNumber(rows, k, 1))).toEqual(expected);
    expect(expected.map((_, k) => getNumber(other, k, 0))).toEqual(expected.map((_, k) => -k));
    expect(expected.every((_, k) => getNumber(rows, k, 0) === 0 && getNumber(rows, k, 2) === 0)).toBe(true);
  });

  it('keep NaN and large numbers as they are', () => {
    const rows = makePagedRows(1, 0, openSpill());
    const values = [NaN, Infinity, 2 ** 53, -0.5];
    for (let k = 0; k < 10_000; k++) setNumber(rows, addRow(rows), 0, values[k % 4]!);
    expect([0, 1, 2, 3].map((k) => getNumber(rows, k, 0))).toEqual(values);
  });

  it('need no file while they fit into memory', () => {
    const spill = openSpill();
    const rows = makePagedRows(4, 1 << 20, spill);
    for (let k = 0; k < 5000; k++) setNumber(rows, addRow(rows), 3, k);
    expect(spill).toEqual({ file: null, bytes: 0 });
  });
});
