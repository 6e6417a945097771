/** Keeps bytes that come as a stream so that they can be read at any position: in memory, or in a file without a name. */
import { randomUUID } from 'node:crypto';
import { closeSync, openSync, unlinkSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TraceError } from '../../base/errors.js';
import { fileBytes, memoryBytes } from './raw.js';
import type { RawBytes } from './raw.js';

/** Up to this many bytes stay in memory. */
const MEMORY_BYTES = 64 * 1024 * 1024;

export interface Spool {
  readonly length: number;
  push(piece: Uint8Array): void;
  /** What was pushed, readable at any position; the spool is used up. */
  finish(): RawBytes;
  /** Gives up what was pushed. */
  discard(): void;
}

/** An empty spool; `path` names the input in errors. */
export function makeSpool(path: string): Spool {
  let pieces: Uint8Array[] = [];
  let length = 0;
  let fd: number | null = null;

  function write(piece: Uint8Array): void {
    fd ??= openUnnamed(path);
    try {
      for (let at = 0; at < piece.length;) at += writeSync(fd, piece, at);
    } catch (cause) {
      throw spoolError(path, cause);
    }
  }

  return {
    get length() {
      return length;
    },
    push(piece) {
      length += piece.length;
      if (length <= MEMORY_BYTES) {
        pieces.push(piece.slice());
        return;
      }
      for (const earlier of pieces) write(earlier);
      pieces = [];
      write(piece);
    },
    finish() {
      if (fd === null) return memoryBytes(Buffer.concat(pieces, length));
      const file = fd;
      return fileBytes(path, file, length, () => closeSync(file));
    },
    discard() {
      if (fd !== null) closeSync(fd);
      fd = null;
      pieces = [];
    },
  };
}

/** A file that only this descriptor knows: it is gone when the process ends, however it ends. */
function openUnnamed(path: string): number {
  const name = join(tmpdir(), `gmemtrace-${randomUUID()}`);
  try {
    const fd = openSync(name, 'wx+', 0o600);
    unlinkSync(name);
    return fd;
  } catch (cause) {
    throw spoolError(path, cause);
  }
}

function spoolError(path: string, cause: unknown): TraceError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new TraceError('db', `cannot keep the decompressed bytes in a temporary file: ${reason}`, {
    input: path,
    hint: 'point TMPDIR to a folder with room, or decompress the input first',
    cause,
  });
}
