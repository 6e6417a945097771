/**
 * Rows of numbers, more than memory should hold: the replay's results have as many as the trace has conversions. Kept
 * in pages; what exceeds the budget goes to a temporary file, and comes back when one of its rows is asked for.
 */
import { randomUUID } from 'node:crypto';
import { closeSync, openSync, readSync, unlinkSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TraceError } from '../base/errors.js';

/** Rows of a page: a power of two, so that a row's page and place in it are bits of its index. */
const PAGE_BITS = 11;
const PAGE_ROWS = 1 << PAGE_BITS;

/** The file behind any number of PagedRows, made when the first page must leave memory. */
export interface Spill {
  file: number | null;
  bytes: number;
}

export function makeSpill(): Spill {
  return { file: null, bytes: 0 };
}

/** Gives the file back. Safe to call twice; rows that are out of memory are lost. */
export function closeSpill(spill: Spill): void {
  if (spill.file !== null) closeSync(spill.file);
  spill.file = null;
}

export interface PagedRows {
  /** Numbers of a row. */
  readonly width: number;
  count: number;
  /** null: in the file, at the place of the same index. */
  readonly pages: (Float64Array | null)[];
  /** Where a page lies in the file, bytes; -1: it never left memory. */
  readonly places: number[];
  /** Pages changed since they were written. */
  readonly dirty: boolean[];
  /** Pages in memory, the one that came first in front. */
  readonly held: number[];
  /** Pages that may be in memory. */
  readonly limit: number;
  readonly spill: Spill;
}

/** `bytes`: how much of them to keep in memory. */
export function makePagedRows(width: number, bytes: number, spill: Spill): PagedRows {
  const limit = Math.max(2, Math.floor(bytes / (PAGE_ROWS * width * 8)));
  return { width, count: 0, pages: [], places: [], dirty: [], held: [], limit, spill };
}

/** The file has no name: it is gone with the process, however that ends. */
function openFile(spill: Spill): number {
  if (spill.file !== null) return spill.file;
  const path = join(tmpdir(), `gmemtrace-${randomUUID()}.rows`);
  spill.file = openSync(path, 'wx+', 0o600);
  unlinkSync(path);
  return spill.file;
}

function writePage(rows: PagedRows, index: number): void {
  const page = rows.pages[index]!;
  const { spill } = rows;
  if (rows.places[index] === -1) {
    rows.places[index] = spill.bytes;
    spill.bytes += page.byteLength;
  }
  try {
    const file = openFile(spill);
    const bytes = new Uint8Array(page.buffer);
    for (let at = 0; at < bytes.length;) at += writeSync(file, bytes, at, bytes.length - at, rows.places[index]! + at);
  } catch (cause) {
    throw new TraceError(
      'db',
      `results do not fit into memory, and not into ${tmpdir()}: ${(cause as Error).message}`,
      {
        hint: 'TMPDIR names another folder',
        cause,
      },
    );
  }
  rows.dirty[index] = false;
}

/** Memory for one more page: that of the page that has been there longest, where there is no more. Not cleared. */
function takePage(rows: PagedRows): Float64Array {
  if (rows.held.length < rows.limit) return new Float64Array(PAGE_ROWS * rows.width);
  const index = rows.held.shift()!;
  if (rows.dirty[index]) writePage(rows, index);
  const page = rows.pages[index]!;
  rows.pages[index] = null;
  return page;
}

function loadPage(rows: PagedRows, index: number): Float64Array {
  const page = takePage(rows);
  const bytes = new Uint8Array(page.buffer);
  for (let at = 0; at < bytes.length;) {
    const read = readSync(rows.spill.file!, bytes, at, bytes.length - at, rows.places[index]! + at);
    if (read === 0) throw new TraceError('internal', 'the file of results is shorter than what was written to it');
    at += read;
  }
  rows.pages[index] = page;
  rows.held.push(index);
  return page;
}

/** Adds a row of zeros; gives its index. */
export function addRow(rows: PagedRows): number {
  if ((rows.count & (PAGE_ROWS - 1)) === 0) {
    const page = takePage(rows).fill(0);
    rows.held.push(rows.pages.length);
    rows.pages.push(page);
    rows.places.push(-1);
    rows.dirty.push(true);
  }
  return rows.count++;
}

export function getNumber(rows: PagedRows, row: number, column: number): number {
  const index = row >>> PAGE_BITS;
  const page = rows.pages[index] ?? loadPage(rows, index);
  return page[(row & (PAGE_ROWS - 1)) * rows.width + column]!;
}

export function setNumber(rows: PagedRows, row: number, column: number, value: number): void {
  const index = row >>> PAGE_BITS;
  const page = rows.pages[index] ?? loadPage(rows, index);
  page[(row & (PAGE_ROWS - 1)) * rows.width + column] = value;
  rows.dirty[index] = true;
}
