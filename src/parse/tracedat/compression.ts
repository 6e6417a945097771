/** Compressed parts of a version 7 file, one block at a time. */
import { inflateSync } from 'node:zlib';
import { TraceError } from '../../base/errors.js';
import { decompressZstd, decompressZstdParts } from '../zstd.js';

/** Largest block that is believed, compressed or not, in bytes. kallsyms of a big kernel has some 15 MB. */
const LARGEST_BLOCK = 128 * 1024 * 1024;

/**
 * One complete zlib stream or zstd frame. `expectedSize` 0 = not stated (big-endian files of trace-cmd before 3.3.2).
 * Throws TraceError('corrupt').
 */
export function decompressBlock(compression: string, bytes: Uint8Array, expectedSize: number): Uint8Array {
  if (expectedSize > LARGEST_BLOCK) throw new TraceError('corrupt', `block states ${expectedSize} bytes`);
  if (compression === 'zlib') return inflate(bytes, expectedSize);
  if (compression !== 'zstd')
    throw new TraceError('corrupt', `block is compressed though the file states ${compression}`);
  return expectedSize === 0 ? decompressUnsized(bytes) : decompressZstd(bytes, expectedSize);
}

/** A zstd frame of which nobody tells the decompressed size. */
function decompressUnsized(bytes: Uint8Array): Uint8Array {
  const parts: Uint8Array[] = [];
  let length = 0;
  for (const part of decompressZstdParts([bytes])) {
    length += part.length;
    if (length > LARGEST_BLOCK) throw new TraceError('corrupt', `block holds more than ${LARGEST_BLOCK} bytes`);
    parts.push(part.slice());
  }
  return Buffer.concat(parts, length);
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

/** Size in bytes of the zstd frame at `start` (RFC 8878, section 3.1.1); null where there is no whole frame. */
export function findZstdFrameSize(bytes: Uint8Array, start: number): number | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (start + 6 > bytes.length || view.getUint32(start, true) !== 0xfd2fb528) return null;
  const descriptor = bytes[start + 4]!;
  const isSingleSegment = (descriptor & 0x20) !== 0;
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3]!;
  const contentSizeBytes = [isSingleSegment ? 1 : 0, 2, 4, 8][descriptor >> 6]!;
  let pos = start + 5 + (isSingleSegment ? 0 : 1) + dictionaryBytes + contentSizeBytes;
  for (let isLast = false; !isLast;) {
    if (pos + 3 > bytes.length) return null;
    const header = bytes[pos]! | (bytes[pos + 1]! << 8) | (bytes[pos + 2]! << 16);
    isLast = (header & 1) !== 0;
    // A run-length block is one byte, whatever it stands for.
    pos += 3 + (((header >> 1) & 3) === 1 ? 1 : header >> 3);
  }
  if ((descriptor & 4) !== 0) pos += 4;
  return pos > bytes.length ? null : pos - start;
}
