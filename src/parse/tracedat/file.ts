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

/** Streams with their limits: no stream reaches into the next one or into `others` (offsets of sections). */
export function limitStreams(
  streams: readonly Omit<CpuStream, 'limit'>[],
  others: readonly number[],
  fileSize: number,
): CpuStream[] {
  const starts = [...new Set([...others, ...streams.filter((s) => s.size > 0).map((s) => s.offset), fileSize])];
  starts.sort((a, b) => a - b);
  return streams.map((stream) => ({
    ...stream,
    limit: Math.min(starts.find((start) => start > stream.offset) ?? fileSize, fileSize),
  }));
}
