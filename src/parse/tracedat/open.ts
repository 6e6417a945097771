import { ByteCursor } from '../byte-cursor.js';
import type { Source } from '../source.js';
import type { TraceFile } from './file.js';
import { readFileHeader } from './header.js';
import { openVersion6 } from './version6.js';
import { openVersion7 } from './version7.js';

/** Longest start of a file that is searched for its end when the size is not known. */
const LARGEST_FILE = 2 ** 46;

/**
 * Reads everything of a trace.dat but its events. zstd must have been initialised (initZstd).
 * Throws TraceError where even the header is not readable.
 */
export function openTraceFile(source: Source): TraceFile {
  const readAt = (offset: number, length: number): Uint8Array => source.readAt(offset, length);
  const size = source.size ?? findSize(source);
  const cursor = new ByteCursor(readAt, 0, size, false);
  const header = readFileHeader(cursor);
  return header.version === 6 ? openVersion6(header, cursor) : openVersion7(header, readAt, size);
}

/** The size of a source that does not know it: by halving, with one byte read a step. */
function findSize(source: Source): number {
  let low = 0;
  let high = LARGEST_FILE;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if (source.readAt(middle, 1).length > 0) low = middle + 1;
    else high = middle;
  }
  return low;
}
