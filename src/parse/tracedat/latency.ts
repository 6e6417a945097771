/** The kernel's `trace` text that latency tracers leave in a trace.dat in place of ring-buffer pages. */
import { ByteCursor } from '../byte-cursor.js';
import { memorySource } from '../source.js';
import type { Source } from '../source.js';
import { decompressBlock } from './compression.js';
import type { TextRange, TraceFile } from './file.js';
import { openTraceFile } from './open.js';

/** Most text that is taken out of a file: the kernel's buffer of a latency tracer holds far less. */
const LARGEST_TEXT = 512 * 1024 * 1024;

/**
 * The text as an input of its own, to be read by the text reader; null where the file holds none (the usual case).
 * zstd must have been initialised. Throws TraceError where the file is no trace.dat or its text is damaged.
 */
export function latencyText(source: Source): Source | null {
  const file = openTraceFile(source);
  if (file.text === null) return null;
  return memorySource(source.path, readText(source, file, file.text));
}

function readText(source: Source, file: TraceFile, text: TextRange): Uint8Array {
  const size = Math.min(text.size, LARGEST_TEXT);
  if (!text.compressed) return source.readAt(text.offset, size).slice();
  const readAt = (offset: number, length: number): Uint8Array => source.readAt(offset, length);
  const cursor = new ByteCursor(readAt, text.offset, text.offset + size, file.header.bigEndian);
  const parts: Uint8Array[] = [];
  const count = cursor.u32();
  let length = 0;
  for (let k = 0; k < count && length < LARGEST_TEXT; k++) {
    const compressedSize = cursor.u32();
    const partSize = cursor.u32();
    const part = decompressBlock(file.header.compression, cursor.bytes(compressedSize), partSize);
    parts.push(part);
    length += part.length;
  }
  return Buffer.concat(parts, length);
}
