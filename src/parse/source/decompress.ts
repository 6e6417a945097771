/** gzip and zstd inputs as streams of decompressed pieces; damage is reported at the end, after all that could be read. */
import { constants, createGunzip } from 'node:zlib';
import { TraceError } from '../../base/errors.js';
import { decompressZstdParts, initZstd, isZstd } from '../zstd.js';
import type { RawBytes } from './raw.js';

export type Compression = 'gzip' | 'zstd';

/** Compressed bytes given to the decompressor at a time. deflate grows them 1032 times at most: 64 MiB a step. */
const GZIP_STEP = 64 * 1024;
const ZSTD_STEP = 512 * 1024;

/** The compression by the first bytes: 1f 8b 08 is gzip (RFC 1952), 28 b5 2f fd zstd (RFC 8878). */
export function findCompression(head: Uint8Array): Compression | null {
  if (head[0] === 0x1f && head[1] === 0x8b && head[2] === 0x08) return 'gzip';
  return isZstd(head) ? 'zstd' : null;
}

/** All decompressed pieces in order. Returns what was wrong with the input, null if it is whole. */
export function decompress(compression: Compression, raw: RawBytes): AsyncGenerator<Uint8Array, string | null> {
  return compression === 'gzip' ? gunzip(raw) : unzstd(raw);
}

async function* unzstd(raw: RawBytes): AsyncGenerator<Uint8Array, string | null> {
  await initZstd();
  const pieces = decompressZstdParts(rawParts(raw, ZSTD_STEP));
  let length = 0;
  for (;;) {
    let next: IteratorResult<Uint8Array, boolean>;
    try {
      next = pieces.next();
    } catch (error) {
      if (error instanceof TraceError) return `zstd data is damaged after ${length} decompressed bytes`;
      throw error;
    }
    if (next.done === true) return next.value ? null : `zstd data ends early, after ${length} decompressed bytes`;
    length += next.value.length;
    yield next.value;
  }
}

function* rawParts(raw: RawBytes, step: number): Generator<Uint8Array> {
  for (let at = 0; at < raw.size; at += step) {
    const part = raw.readAt(at, step);
    if (part.length === 0) return;
    yield part;
  }
}

/** What has come out of the gzip stream since the last step, and how it stands. */
interface GunzipState {
  pieces: Uint8Array[];
  error: Error | null;
  ended: boolean;
}

async function* gunzip(raw: RawBytes): AsyncGenerator<Uint8Array, string | null> {
  const state: GunzipState = { pieces: [], error: null, ended: false };
  const stream = createGunzip({ chunkSize: 128 * 1024, finishFlush: constants.Z_FINISH });
  let wake: () => void = () => undefined;
  stream.on('data', (piece: Uint8Array) => state.pieces.push(piece));
  stream.on('error', (error: Error) => {
    state.error = error;
    wake();
  });
  stream.on('end', () => {
    state.ended = true;
    wake();
  });
  // A stream that met its end before the input's (bytes after the last member) never calls back: any of the three wakes.
  const step = (run: (done: () => void) => void): Promise<void> =>
    new Promise((resolve) => {
      wake = resolve;
      run(resolve);
    });
  let length = 0;
  try {
    for (const part of rawParts(raw, GZIP_STEP)) {
      const copy = part.slice();
      await step((done) => stream.write(copy, () => done()));
      length += yieldedLength(state.pieces);
      yield* state.pieces.splice(0);
      if (state.error || state.ended) break;
    }
    if (!state.error && !state.ended) await step(() => stream.end());
    length += yieldedLength(state.pieces);
    yield* state.pieces.splice(0);
  } finally {
    stream.destroy();
  }
  if (!state.error) return null;
  const early = 'code' in state.error && state.error.code === 'Z_BUF_ERROR';
  return early
    ? `gzip data ends early, after ${length} decompressed bytes`
    : `gzip data is damaged after ${length} decompressed bytes`;
}

function yieldedLength(pieces: readonly Uint8Array[]): number {
  return pieces.reduce((sum, piece) => sum + piece.length, 0);
}
