/**
 * The pages of one CPU, in runs of bounded size: read by windows where they lie plain in the file, decompressed chunk by
 * chunk where not. A chunk stream is
 *
 *   u32 chunks, then per chunk: u32 compressed size, u32 uncompressed size, one zlib stream or zstd frame
 *
 * (trace-cmd: lib/trace-cmd/trace-compress.c). The size that the BUFFER option states leaves out the count in 3.1.x and
 * holds it in 3.3.x, so chunks are walked up to the next known thing in the file.
 */
import { TraceError } from '../../base/errors.js';
import { ByteCursor } from '../byte-cursor.js';
import type { ReadAt } from '../byte-cursor.js';
import { decompressBlock, findZstdFrameSize } from './compression.js';
import type { CpuStream } from './file.js';
import type { FileHeader } from './header.js';

/** Whole pages; only the last one of a cut file may be short. */
export interface PageRun {
  readonly bytes: Uint8Array;
  /** Where the run starts in the CPU's stream of uncompressed pages, in bytes. */
  readonly streamOffset: number;
}

/** What could not be read: told when it comes up, in stream order. */
export type OnDamage = (reason: string, fileOffset: number, bytes: number) => void;

const WINDOW_BYTES = 1024 * 1024;

/** More than any chunk of a recording (trace-cmd takes 10 pages). */
const LARGEST_CHUNK = 128 * 1024 * 1024;

/** The pages of `stream` in order. A run is valid until the next one is asked for. */
export function readPageRuns(
  stream: CpuStream,
  readAt: ReadAt,
  header: FileHeader,
  pageSize: number,
  onDamage: OnDamage,
): Generator<PageRun> {
  return stream.compressed
    ? readChunks(stream, readAt, header, onDamage)
    : readWindows(stream, readAt, pageSize, onDamage);
}

function* readWindows(stream: CpuStream, readAt: ReadAt, pageSize: number, onDamage: OnDamage): Generator<PageRun> {
  const window = Math.max(1, Math.floor(WINDOW_BYTES / pageSize)) * pageSize;
  for (let done = 0; done < stream.size;) {
    const wanted = Math.min(window, stream.size - done);
    const bytes = readAt(stream.offset + done, wanted);
    if (bytes.length > 0) yield { bytes, streamOffset: done };
    done += bytes.length;
    if (bytes.length < wanted) {
      onDamage('bytes of CPU data are cut off', stream.offset + done, stream.size - done);
      return;
    }
  }
}

function* readChunks(stream: CpuStream, readAt: ReadAt, header: FileHeader, onDamage: OnDamage): Generator<PageRun> {
  const cursor = new ByteCursor(readAt, stream.offset, stream.limit, header.bigEndian);
  if (cursor.left < 4) {
    onDamage('bytes of CPU data are cut off', stream.offset, Math.max(stream.size, 1));
    return;
  }
  const count = cursor.u32();
  if (count === 0 && stream.size > 12) {
    yield* readUnsizedFrames(stream, readAt, header, onDamage);
    return;
  }
  let streamOffset = 0;
  for (let k = 0; k < count; k++) {
    const at = cursor.pos;
    if (cursor.left < 8) {
      onDamage('bytes of CPU data are cut off', at, Math.max(stream.offset + stream.size - at, 1));
      return;
    }
    const compressedSize = cursor.u32();
    const size = cursor.u32();
    if (compressedSize > cursor.left || size > LARGEST_CHUNK) {
      const missing = Math.max(stream.offset + stream.size - at, 1);
      onDamage(
        size > LARGEST_CHUNK ? 'bytes of CPU data behind a damaged chunk' : 'bytes of CPU data are cut off',
        at,
        missing,
      );
      return;
    }
    const bytes = tryDecompress(header.compression, cursor.bytes(compressedSize), size);
    if (bytes) yield { bytes, streamOffset };
    else onDamage('bytes of CPU data in damaged chunks', at, compressedSize);
    streamOffset += size;
  }
}

/**
 * Big-endian files of trace-cmd before 3.3.2 have zeros for count and sizes (the upper half of an 8-byte store):
 * frames follow each other, each after 8 zero bytes, and know their own ends.
 */
function* readUnsizedFrames(
  stream: CpuStream,
  readAt: ReadAt,
  header: FileHeader,
  onDamage: OnDamage,
): Generator<PageRun> {
  const bytes = readAt(stream.offset, Math.min(stream.limit - stream.offset, LARGEST_CHUNK)).slice();
  let pos = 4;
  let streamOffset = 0;
  while (pos + 8 < bytes.length && pos < stream.size) {
    const frameSize = findZstdFrameSize(bytes, pos + 8);
    const frame = frameSize === null ? null : bytes.subarray(pos + 8, pos + 8 + frameSize);
    const pages = frame && tryDecompress(header.compression, frame, 0);
    if (!frame || !pages) {
      onDamage('bytes of CPU data behind a damaged chunk', stream.offset + pos, stream.size - pos);
      return;
    }
    yield { bytes: pages, streamOffset };
    streamOffset += pages.length;
    pos += 8 + frame.length;
  }
}

function tryDecompress(compression: string, bytes: Uint8Array, size: number): Uint8Array | null {
  try {
    return decompressBlock(compression, bytes, size);
  } catch (error) {
    if (error instanceof TraceError) return null;
    throw error;
  }
}

/**
 * Streams of compressed chunks in [first, end) of which no list tells: one behind the other, each at a page boundary.
 * The last one may be cut.
 */
export function findCompressedStreams(
  readAt: ReadAt,
  first: number,
  end: number,
  header: FileHeader,
): { readonly offset: number; readonly size: number }[] {
  const streams: { offset: number; size: number }[] = [];
  let offset = first;
  while (offset + 12 <= end) {
    const cursor = new ByteCursor(readAt, offset, end, header.bigEndian);
    const count = cursor.u32();
    if (count === 0 || count > (end - offset) / 8) break;
    for (let k = 0; k < count && cursor.left >= 8; k++) {
      const compressedSize = cursor.u32();
      cursor.skip(4);
      cursor.skip(Math.min(compressedSize, cursor.left));
    }
    streams.push({ offset, size: cursor.pos - offset });
    offset = Math.ceil(cursor.pos / header.pageSize) * header.pageSize;
  }
  return streams;
}
