/**
 * One input as bytes: a file, standard input, or either compressed by gzip or zstd. Readers of binary formats use
 * `readAt`; readers of text use `stream`. Compression is told by content, never by the file's name.
 */
export interface Source {
  /** As the user named it (`-` for standard input). */
  readonly path: string;
  /** Size of the decompressed bytes; null while it is not known (a pipe). */
  readonly size: number | null;
  /** Bytes [offset, offset+length) of the decompressed input, fewer at its end. The view is valid until the next call. */
  readAt(offset: number, length: number): Uint8Array;
  /** All decompressed bytes in order, in chunks of about 1 MiB. A chunk is valid until the next one is asked for. */
  stream(): AsyncIterable<Uint8Array>;
  /** Names of the parts of a perf.data directory (`data`, `data.0`, …) as sources; null for anything else. */
  readonly parts: readonly Source[] | null;
  close(): void;
}
