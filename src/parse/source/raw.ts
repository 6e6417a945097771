/** Bytes at positions, from a file through a few windows or from memory: what sources are built on. */
import { readSync } from 'node:fs';
import { TraceError } from '../../base/errors.js';

/** Bytes at positions. Views are valid until the next call. */
export interface RawBytes {
  readonly size: number;
  /** Bytes [offset, offset+length), fewer at the end. */
  readAt(offset: number, length: number): Uint8Array;
  close(): void;
}

/** Largest single read in bytes: no record, page or section of any format comes near it. */
const MAX_READ = 512 * 1024 * 1024;

/** Size and number of windows. Readers alternate between a few places (header, formats, one CPU's pages). */
const WINDOW_BYTES = 1024 * 1024;
const WINDOWS = 6;
/** Windows start at multiples of this, so that small steps back stay inside. */
const WINDOW_ALIGN = 4096;

/** Bytes that are in memory already. */
export function memoryBytes(bytes: Uint8Array): RawBytes {
  return {
    size: bytes.length,
    readAt: (offset, length) => bytes.subarray(Math.min(offset, bytes.length), Math.min(offset + length, bytes.length)),
    close: () => undefined,
  };
}

interface Window {
  start: number;
  length: number;
  lastUse: number;
  bytes: Uint8Array;
}

/** Bytes of an open file of `size` bytes, read by windows; `close` runs when the bytes are no longer needed. */
export function fileBytes(path: string, fd: number, size: number, close: () => void): RawBytes {
  const windows: Window[] = [];
  let uses = 0;

  function refill(offset: number): Window {
    let window = windows.length < WINDOWS ? undefined : windows[0]!;
    if (!window) {
      window = { start: 0, length: 0, lastUse: 0, bytes: new Uint8Array(WINDOW_BYTES) };
      windows.push(window);
    }
    for (const other of windows) if (other.lastUse < window.lastUse) window = other;
    window.start = offset - (offset % WINDOW_ALIGN);
    window.length = readFully(path, fd, window.bytes, window.start);
    return window;
  }

  function readAt(offset: number, length: number): Uint8Array {
    const wanted = Math.min(length, size - offset);
    if (!(wanted > 0)) return new Uint8Array(0);
    if (wanted > MAX_READ) {
      throw new TraceError('corrupt', `a block of ${length} bytes cannot be part of a trace`, {
        input: path,
        byteOffset: offset,
      });
    }
    if (wanted > WINDOW_BYTES - WINDOW_ALIGN) {
      const bytes = new Uint8Array(wanted);
      return bytes.subarray(0, readFully(path, fd, bytes, offset));
    }
    let window: Window | undefined;
    for (const one of windows) {
      if (offset >= one.start && offset + wanted <= one.start + one.length) window = one;
    }
    window ??= refill(offset);
    window.lastUse = ++uses;
    return window.bytes.subarray(offset - window.start, Math.min(offset - window.start + wanted, window.length));
  }

  return { size, readAt, close };
}

/** Reads until `bytes` is full or the file ends; the number of bytes read. */
function readFully(path: string, fd: number, bytes: Uint8Array, position: number): number {
  let filled = 0;
  while (filled < bytes.length) {
    let count: number;
    try {
      count = readSync(fd, bytes, filled, bytes.length - filled, position + filled);
    } catch (cause) {
      throw new TraceError('corrupt', `cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`, {
        input: path,
        byteOffset: position + filled,
        cause,
      });
    }
    if (count === 0) break;
    filled += count;
  }
  return filled;
}
