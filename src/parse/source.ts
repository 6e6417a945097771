/** Where the bytes of an input come from: files, pipes, compressed files, perf.data directories. */
import { closeSync, createReadStream, existsSync, openSync, readdirSync, statSync } from 'node:fs';
import type { Stats } from 'node:fs';
import { join } from 'node:path';
import { TraceError } from '../base/errors.js';
import { decompress, findCompression } from './source/decompress.js';
import type { Compression } from './source/decompress.js';
import { fileBytes, memoryBytes } from './source/raw.js';
import type { RawBytes } from './source/raw.js';
import { makeSpool } from './source/spool.js';

/**
 * One input as bytes: a file, standard input, or either compressed by gzip or zstd. Readers of binary formats use
 * `readAt`; readers of text use `stream`. Compression is told by content, never by the file's name.
 */
export interface Source {
  /** As the user named it (`-` for standard input). */
  readonly path: string;
  /** Size of the decompressed bytes; null while it is not known (a large compressed text, which is only streamed). */
  readonly size: number | null;
  /**
   * Bytes [offset, offset+length) of the decompressed input, fewer at its end. The view is valid until the next call.
   * Of a large compressed text (`size` null) only the first MiB can be had.
   */
  readAt(offset: number, length: number): Uint8Array;
  /** All decompressed bytes in order, in chunks of about 1 MiB. A chunk is valid until the next one is asked for. */
  stream(): AsyncIterable<Uint8Array>;
  /** Names of the parts of a perf.data directory (`data`, `data.0`, …) as sources; null for anything else. */
  readonly parts: readonly Source[] | null;
  /** What is wrong with the compressed input, where only a part of it could be decompressed; known once all was read. */
  readonly damage: string | null;
  close(): void;
}

/** Pieces of `stream()`. */
const CHUNK_BYTES = 1024 * 1024;
/** Decompressed bytes that are looked at to tell text from binary, and kept for `readAt`. */
const HEAD_BYTES = 1024 * 1024;

/**
 * Opens an input: a file, `-` for `stdin`, a pipe, or a perf.data directory (one with a file named `data`).
 * Throws TraceError: `not-found` (also: no permission), `unknown-format` (a directory or device), `truncated` (empty),
 * `corrupt` (compressed, and nothing of it can be decompressed).
 */
export async function openSource(path: string, stdin: AsyncIterable<unknown> = process.stdin): Promise<Source> {
  if (path === '-') return openRaw(path, await spoolStream(path, stdin));
  const stats = statInput(path);
  if (stats.isDirectory()) return openDirectory(path);
  // Files of tracefs and procfs say that they are empty.
  if (stats.isFIFO() || (stats.isFile() && stats.size === 0)) {
    return openRaw(path, await spoolStream(path, createReadStream(path)));
  }
  if (!stats.isFile()) {
    throw new TraceError('unknown-format', 'is a device or socket, not a trace', {
      input: path,
      hint: 'give a trace file, or - and pipe the trace in',
    });
  }
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch (cause) {
    throw openError(path, cause);
  }
  return openRaw(
    path,
    fileBytes(path, fd, stats.size, () => closeSync(fd)),
  );
}

/** A source over bytes in memory, taken as they are (never decompressed). */
export function memorySource(path: string, bytes: Uint8Array): Source {
  return plainSource(path, memoryBytes(bytes), null);
}

function statInput(path: string): Stats {
  try {
    return statSync(path);
  } catch (cause) {
    throw openError(path, cause);
  }
}

function openError(path: string, cause: unknown): TraceError {
  const code = cause instanceof Error && 'code' in cause ? cause.code : '';
  if (code === 'ENOENT' || code === 'ENOTDIR') {
    return new TraceError('not-found', 'no such file', { input: path, cause });
  }
  if (code === 'EACCES' || code === 'EPERM') {
    return new TraceError('not-found', 'no permission to read it', {
      input: path,
      hint: 'traces that root recorded usually belong to root: change the owner, or copy the file',
      cause,
    });
  }
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new TraceError('not-found', `cannot be opened: ${reason}`, { input: path, cause });
}

/** perf.data of `perf record --threads` or `--kcore`: `data` has the header, `data.N` the records of one thread. */
async function openDirectory(path: string): Promise<Source> {
  if (!existsSync(join(path, 'data'))) {
    throw new TraceError('unknown-format', 'is a directory, and not one of perf record (it has no file "data")', {
      input: path,
      hint: 'name the trace files in it',
    });
  }
  const numbers = readdirSync(path)
    .filter((name) => /^data\.\d+$/.test(name))
    .map((name) => Number(name.slice(5)))
    .sort((a, b) => a - b);
  const parts: Source[] = [await openSource(join(path, 'data'))];
  for (const number of numbers) {
    const part = join(path, `data.${number}`);
    // A thread that recorded nothing leaves an empty file.
    if (statInput(part).size > 0) parts.push(await openSource(part));
  }
  const main = parts[0]!;
  return {
    path,
    size: main.size,
    readAt: (offset, length) => main.readAt(offset, length),
    stream: () => main.stream(),
    parts,
    get damage() {
      return parts.find((part) => part.damage !== null)?.damage ?? null;
    },
    close: () => parts.forEach((part) => part.close()),
  };
}

/** Puts the right source over the bytes of a file or pipe; owns `raw` from then on. */
async function openRaw(path: string, raw: RawBytes): Promise<Source> {
  try {
    if (raw.size === 0) {
      throw new TraceError('truncated', 'is empty', { input: path, hint: 'was the recorder stopped before it wrote?' });
    }
    const compression = findCompression(raw.readAt(0, 16));
    return compression ? await openCompressed(path, compression, raw) : plainSource(path, raw, null);
  } catch (error) {
    raw.close();
    throw error;
  }
}

async function spoolStream(path: string, stream: AsyncIterable<unknown>): Promise<RawBytes> {
  const spool = makeSpool(path);
  try {
    for await (const piece of stream) {
      if (piece instanceof Uint8Array) spool.push(piece);
    }
    return spool.finish();
  } catch (error) {
    spool.discard();
    throw error instanceof TraceError ? error : openError(path, error);
  }
}

function plainSource(path: string, raw: RawBytes, damage: string | null): Source {
  return {
    path,
    size: raw.size,
    readAt: (offset, length) => raw.readAt(offset, length),
    async *stream() {
      await Promise.resolve();
      for (let at = 0; at < raw.size;) {
        const chunk = raw.readAt(at, CHUNK_BYTES - 4096);
        if (chunk.length === 0) return;
        at += chunk.length;
        yield chunk;
      }
    },
    parts: null,
    damage,
    close: () => raw.close(),
  };
}

/** Decompresses what needs positions, at once; leaves a text that is larger than its head to be streamed. */
async function openCompressed(path: string, compression: Compression, raw: RawBytes): Promise<Source> {
  const pieces = decompress(compression, raw);
  const spool = makeSpool(path);
  try {
    let judged = false;
    let next = await pieces.next();
    for (; next.done !== true; next = await pieces.next()) {
      spool.push(next.value);
      if (judged || spool.length < HEAD_BYTES) continue;
      judged = true;
      const head = spool.finish();
      if (!head.readAt(0, 64 * 1024).includes(0)) {
        await pieces.return(null);
        return streamedSource(path, compression, raw, head);
      }
    }
    if (spool.length === 0) {
      throw new TraceError('corrupt', next.value ?? `is empty inside its ${compression} compression`, { input: path });
    }
    raw.close();
    return plainSource(path, spool.finish(), next.value);
  } catch (error) {
    spool.discard();
    throw error;
  }
}

function streamedSource(path: string, compression: Compression, raw: RawBytes, head: RawBytes): Source {
  let damage: string | null = null;
  return {
    path,
    size: null,
    readAt(offset, length) {
      if (offset + length > head.size) {
        throw new TraceError('internal', `a streamed input has no byte ${offset + length}`, { input: path });
      }
      return head.readAt(offset, length);
    },
    async *stream() {
      const pieces = decompress(compression, raw);
      let next = await pieces.next();
      for (; next.done !== true; next = await pieces.next()) yield next.value;
      damage = next.value;
    },
    parts: null,
    get damage() {
      return damage;
    },
    close() {
      head.close();
      raw.close();
    },
  };
}
