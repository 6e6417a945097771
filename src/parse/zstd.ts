/**
 * Guards around the zstd decoder (zstddec, WebAssembly), which does not report corruption: a damaged frame decodes to
 * nothing, a damaged stream yields empty pieces for ever.
 */
import { ZSTDDecoder } from 'zstddec/stream';
import { TraceError } from '../base/errors.js';

/** First bytes of a zstd frame, and of what pzstd and seekable zstd put around frames. */
const FRAME_MAGIC = 0xfd2fb528;
const SKIPPABLE_MAGIC = 0x184d2a50;

/** Largest block that one call decompresses, in bytes; a stated size beyond it is taken for damage. */
export const MAX_ZSTD_BLOCK = 256 * 1024 * 1024;

/** Blocks stated larger than this are decoded as a stream, so that memory follows the real output, not the claim. */
const TRUSTED_BLOCK = 4 * 1024 * 1024;

/** One input part at a time is copied into the decoder; larger ones are cut to this many bytes. */
const PART_BYTES = 1024 * 1024;

/** Room for output that the decoder has (ZSTD_DStreamOutSize); a piece of this size may have left some behind. */
const PIECE_BYTES = 128 * 1024;

/** A sound stream gave at most one empty piece in a row (skippable frames: two); a stuck decoder gives nothing else. */
const STUCK_AFTER = 8;

const decoder = new ZSTDDecoder();

/** Loads the decoder. To be awaited once before anything else here; further calls cost nothing. */
export async function initZstd(): Promise<void> {
  await loadDecoder();
}

/**
 * zstddec fetches its own code from a data: URL where there is a `fetch`, for which Node loads an HTTP client (0.1 s);
 * where there is none it decodes the text itself. It looks once, before its first await.
 */
function loadDecoder(): Promise<void> {
  const { fetch } = globalThis;
  try {
    Object.assign(globalThis, { fetch: undefined });
    return decoder.init();
  } finally {
    globalThis.fetch = fetch;
  }
}

/** Whether `bytes` begin with a zstd frame (or a skippable frame, with which some writers start). */
export function isZstd(bytes: Uint8Array): boolean {
  if (bytes.length < 4) return false;
  const magic = (bytes[0]! | (bytes[1]! << 8) | (bytes[2]! << 16) | (bytes[3]! << 24)) >>> 0;
  return magic === FRAME_MAGIC || ((magic & 0xfffffff0) >>> 0 === SKIPPABLE_MAGIC && bytes.length >= 8);
}

/**
 * Decompresses whole frames of which the decompressed size is known, e.g. a chunk of a trace.dat v7.
 * Throws TraceError('corrupt') if the data is damaged or does not give exactly `expectedSize` bytes.
 */
export function decompressZstd(bytes: Uint8Array, expectedSize: number): Uint8Array {
  if (!Number.isSafeInteger(expectedSize) || expectedSize < 0 || expectedSize > MAX_ZSTD_BLOCK) {
    throw new TraceError('corrupt', `zstd block claims ${expectedSize} bytes, at most ${MAX_ZSTD_BLOCK} are possible`);
  }
  if (expectedSize === 0) return new Uint8Array(0);
  const output = expectedSize <= TRUSTED_BLOCK ? decoder.decode(bytes, expectedSize) : decodeLarge(bytes, expectedSize);
  if (output.length !== expectedSize) {
    throw new TraceError(
      'corrupt',
      `zstd block of ${bytes.length} bytes is damaged: it does not give the stated ${expectedSize} bytes`,
    );
  }
  return output;
}

function decodeLarge(bytes: Uint8Array, expectedSize: number): Uint8Array {
  const pieces: Uint8Array[] = [];
  let length = 0;
  for (const piece of decompressZstdParts([bytes])) {
    length += piece.length;
    if (length > expectedSize) return new Uint8Array(0);
    pieces.push(piece);
  }
  return Buffer.concat(pieces, length);
}

/**
 * Decompresses a stream that comes in parts: any number of frames, the last of which may never end. A part is asked for
 * when all output of the parts before it was yielded. Returns whether the last frame was complete. Throws
 * TraceError('corrupt') where the data is damaged; what came before is good.
 */
export function* decompressZstdParts(parts: Iterable<Uint8Array>): Generator<Uint8Array, boolean> {
  const feed = newFeed();
  const pieces = makePieces(parts, feed);
  for (;;) {
    const next = pieces();
    if (typeof next === 'boolean') return next;
    yield next;
  }
}

/** A zstd stream to which parts are given as they are met (perf.data: one stream a data file, flushed, never ended). */
export interface ZstdStream {
  /**
   * Output up to and with the first piece of `part`; the rest comes with the next call. `part` is read before the last
   * piece is yielded. Throws TraceError('corrupt'); the stream is of no use after that.
   */
  push(part: Uint8Array): Generator<Uint8Array, void>;
  /** Output that is left. */
  finish(): Generator<Uint8Array, void>;
}

/**
 * A new stream. The decoder pulls its input and ends for good when there is none, so it is asked for a further piece
 * only while a part is waiting: output may come one part late, never too little.
 */
export function makeZstdStream(): ZstdStream {
  let waiting: Uint8Array | null = null;
  const feed = newFeed();
  function* takeWaiting(): Generator<Uint8Array, void> {
    while (waiting) {
      const part = waiting;
      waiting = null;
      yield part;
    }
  }
  const pieces = makePieces(takeWaiting(), feed);

  return {
    *push(part) {
      if (part.length === 0) return;
      waiting = part;
      while (waiting) {
        const next = pieces();
        if (typeof next === 'boolean') return;
        yield next;
      }
    },
    *finish() {
      for (let next = pieces(); typeof next !== 'boolean'; next = pieces()) yield next;
    },
  };
}

/** How far the decoder is. */
interface Feed {
  /** Bytes and parts that it has taken. */
  consumed: number;
  parts: number;
  /** Length of its last piece. */
  lastPiece: number;
  /** Whether the input has ended, and the bytes that came after that. */
  ended: boolean;
  afterEnd: number;
}

function newFeed(): Feed {
  return { consumed: 0, parts: 0, lastPiece: 0, ended: false, afterEnd: 0 };
}

/** An empty frame: its first byte, which may as well begin a block, and the others. */
const EMPTY_FRAME_START = Uint8Array.of(0x28);
const EMPTY_FRAME_REST = Uint8Array.of(0xb5, 0x2f, 0xfd, 0x20, 0x00, 0x01, 0x00, 0x00);

/**
 * The parts, none larger than the decoder takes at once. Where a frame is not ended, the decoder keeps output for which
 * its last piece had no room until there is more input: one byte more makes it give it. If nothing comes, the others
 * tell whether the stream was at the end of a frame.
 */
function* feedParts(parts: Iterable<Uint8Array>, feed: Feed): Generator<Uint8Array, void> {
  for (const part of parts) {
    for (let at = 0; at < part.length; at += PART_BYTES) {
      const piece = part.subarray(at, at + PART_BYTES);
      feed.consumed += piece.length;
      feed.parts++;
      yield piece;
    }
  }
  feed.ended = true;
  if (feed.lastPiece < PIECE_BYTES) return;
  yield EMPTY_FRAME_START;
  if (feed.afterEnd === 0) yield EMPTY_FRAME_REST;
}

/** Gives the next piece at each call; at the end whether the last frame was complete. */
function makePieces(parts: Iterable<Uint8Array>, feed: Feed): () => Uint8Array | boolean {
  const pieces = decoder.decodeStreaming(feedParts(parts, feed));
  let empty = 0;
  let part = 0;
  return () => {
    for (;;) {
      const next = nextPiece(pieces, feed);
      if (next === null) return false;
      if (next.done === true) return true;
      const { length } = next.value;
      feed.lastPiece = length;
      if (feed.ended) feed.afterEnd += length;
      if (length > 0 || part !== feed.parts) empty = 0;
      part = feed.parts;
      if (length > 0) return next.value;
      if (++empty < STUCK_AFTER) continue;
      if (feed.ended) return false;
      throw damaged(feed);
    }
  };
}

/** The decoder's next piece; null where it complains that the input ended inside a frame. */
function nextPiece(pieces: Generator<Uint8Array>, feed: Feed): IteratorResult<Uint8Array, unknown> | null {
  try {
    return pieces.next();
  } catch (error) {
    if (error instanceof TraceError) throw error;
    if (error instanceof Error && error.message.startsWith('Incomplete stream')) return null;
    throw damaged(feed, error);
  }
}

function damaged(feed: Feed, cause?: unknown): TraceError {
  return new TraceError('corrupt', `zstd data is damaged within its first ${feed.consumed} compressed bytes`, {
    cause,
  });
}
