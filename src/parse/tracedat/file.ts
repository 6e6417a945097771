/** A trace.dat opened: its metadata, and where each CPU's pages are. What both versions give to the reader. */
import type { SkipLog } from '../skips.js';
import type { TracingBlobs } from '../tracing-data.js';
import type { FileHeader } from './header.js';
import type { Options } from './options.js';

/** Pages of one CPU of one buffer. */
export interface CpuStream {
  readonly cpu: number;
  /** Where the pages (or the chunk count before compressed ones) start. */
  readonly offset: number;
  /** Bytes that the file states; compressed streams are walked by their chunks instead. */
  readonly size: number;
  /** First byte that cannot belong to this stream: the next known thing, or the end of the file. */
  readonly limit: number;
  readonly compressed: boolean;
}

/** The ring buffer of the top instance or of another one. */
export interface TraceBuffer {
  /** '' for the top buffer. */
  readonly name: string;
  readonly pageSize: number;
  readonly streams: readonly CpuStream[];
}

/** The kernel's text of a latency tracer that was recorded in place of pages. */
export interface TextRange {
  readonly offset: number;
  /** Bytes in the file. */
  readonly size: number;
  readonly compressed: boolean;
}

export interface TraceFile {
  readonly header: FileHeader;
  readonly size: number;
  readonly options: Options;
  readonly blobs: TracingBlobs;
  readonly buffers: readonly TraceBuffer[];
  readonly text: TextRange | null;
  readonly notes: readonly string[];
  readonly skips: SkipLog;
}

/**
 * Streams with their limits: none reaches into the next one or into `others` (offsets of sections), and none is read
 * twice, so that a crafted table cannot make a small file endless. What is left out is counted in `skips`.
 */
export function limitStreams(
  streams: readonly Omit<CpuStream, 'limit'>[],
  others: readonly number[],
  fileSize: number,
  skips: SkipLog,
): CpuStream[] {
  const starts = [...new Set([...others, ...streams.filter((s) => s.size > 0).map((s) => s.offset), fileSize])];
  starts.sort((a, b) => a - b);
  const seen = new Set<number>();
  return streams.map((stream) => {
    const limit = Math.min(starts.find((start) => start > stream.offset) ?? fileSize, fileSize);
    const isTwice = seen.has(stream.offset);
    const overlap = stream.compressed || limit === fileSize ? 0 : stream.offset + stream.size - limit;
    const excess = isTwice ? stream.size : Math.max(overlap, 0);
    if (excess > 0)
      skips.add('bytes of CPU data that overlap other data', `cpu ${stream.cpu}, byte ${stream.offset}`, excess);
    seen.add(stream.offset);
    return { ...stream, size: stream.size - excess, limit };
  });
}
