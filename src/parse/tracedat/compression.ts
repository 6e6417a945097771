/** Compressed parts of a version 7 file, one block at a time. */
import { inflateSync } from 'node:zlib';
import { TraceError } from '../../base/errors.js';
import { decompressZstd } from '../zstd.js';

/** Largest block that is believed, compressed or not, in bytes. kallsyms of a big kernel has some 15 MB. */
const LARGEST_BLOCK = 128 * 1024 * 1024;

/** Most bytes that one block of a zstd frame gives (RFC 8878, Block_Maximum_Size). */
const ZSTD_BLOCK_BYTES = 128 * 1024;

/**
 * One complete zlib stream or zstd frame. `expectedSize` 0 = not stated (big-endian files of trace-cmd before 3.3.2).
 * Throws TraceError('corrupt').
 */
export function decompressBlock(compression: string, bytes: Uint8Array, expectedSize: number): Uint8Array {
  if (expectedSize > LARGEST_BLOCK) throw new TraceError('corrupt', `block states ${expectedSize} bytes`);
  if (compression === 'zlib') return inflate(bytes, expectedSize);
  if (compression !== 'zstd')
    throw new TraceError('corrupt', `block is compressed though the file states ${compression}`);
  return decompressZstd(bytes, expectedSize || (findZstdFrame(bytes, 0)?.contentSize ?? 0));
}

function inflate(bytes: Uint8Array, expectedSize: number): Uint8Array {
  let output: Uint8Array;
  try {
    output = inflateSync(bytes, { maxOutputLength: expectedSize || LARGEST_BLOCK });
  } catch (cause) {
    throw new TraceError('corrupt', `zlib block of ${bytes.length} bytes is damaged`, { cause });
  }
  if (expectedSize !== 0 && output.length !== expectedSize) {
    throw new TraceError('corrupt', `zlib block gives ${output.length} bytes where ${expectedSize} are stated`);
  }
  return output;
}

/**
 * Size of the zstd frame at `start`, and of what it holds (from its header, RFC 8878 section 3.1.1), in bytes.
 * null where there is no whole frame with a stated content size.
 */
export function findZstdFrame(bytes: Uint8Array, start: number): { frameSize: number; contentSize: number } | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (start + 6 > bytes.length || view.getUint32(start, true) !== 0xfd2fb528) return null;
  const descriptor = bytes[start + 4]!;
  const singleSegment = (descriptor & 0x20) !== 0;
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3]!;
  const sizeBytes = [singleSegment ? 1 : 0, 2, 4, 8][descriptor >> 6]!;
  const sizeAt = start + 5 + (singleSegment ? 0 : 1) + dictionaryBytes;
  let pos = sizeAt + sizeBytes;
  if (sizeBytes === 0 || pos > bytes.length) return null;
  const contentSize = readSize(view, sizeAt, sizeBytes);
  for (let last = false; !last;) {
    if (pos + 3 > bytes.length) return null;
    const header = bytes[pos]! | (bytes[pos + 1]! << 8) | (bytes[pos + 2]! << 16);
    last = (header & 1) !== 0;
    pos += 3 + (((header >> 1) & 3) === 1 ? 1 : header >> 3);
  }
  if ((descriptor & 4) !== 0) pos += 4;
  const blocks = Math.ceil((pos - start) / 4);
  if (pos > bytes.length || contentSize > Math.min(LARGEST_BLOCK, blocks * ZSTD_BLOCK_BYTES)) return null;
  return { frameSize: pos - start, contentSize };
}

function readSize(view: DataView, at: number, bytes: number): number {
  if (bytes === 1) return view.getUint8(at);
  // Two bytes hold the size less 256.
  if (bytes === 2) return view.getUint16(at, true) + 256;
  return bytes === 4 ? view.getUint32(at, true) : view.getUint32(at, true) + view.getUint32(at + 4, true) * 4294967296;
}
