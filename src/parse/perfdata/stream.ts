/** One file of records (a perf.data, or one data.N of a directory) from its first byte to its last. */
import { setImmediate } from 'node:timers/promises';
import { TraceError } from '../../base/errors.js';
import type { EventBatch } from '../batch.js';
import type { Source } from '../source.js';
import { makeZstdStream } from '../zstd.js';
import type { ZstdStream } from '../zstd.js';
import { readU64 } from './attr.js';
import { PERF_RECORD_AUXTRACE, PERF_RECORD_COMPRESSED, PERF_RECORD_TRACING_DATA } from './records.js';
import type { SampleReader } from './samples.js';
import { takeTracingData } from './session.js';
import type { Session } from './session.js';
import { makeWalker } from './walk.js';
import type { Walker } from './walk.js';

/** Bytes looked at together; a record has 64 KiB at most. Fits the source's windows. */
const BLOCK_BYTES = 1024 * 1024 - 4096;
/** Largest TRACING_DATA that is believed. */
const MAX_TRACING_BYTES = 256 * 1024 * 1024;

export interface StreamContext {
  readonly session: Session;
  readonly samples: SampleReader;
  readonly emit: (batch: EventBatch) => Promise<void>;
  readonly signal: AbortSignal | undefined;
  /** Told the bytes of the file that were read, after each block. */
  readonly onBlock: (bytes: number) => void;
}

/**
 * Reads the records in bytes [start, end) of `source`. A record's position is its byte in the file, or, behind compressed
 * records, the byte it would have had if they had been written plain; `seqBase` is added. Gives the first position behind.
 */
export async function readStream(
  context: StreamContext,
  source: Source,
  range: { readonly start: number; readonly end: number },
  seqBase: number,
): Promise<number> {
  const { session } = context;
  const walker = makeWalker(session, context.samples);
  const compressed = makeCompressed(context);
  let at = range.start;
  let shift = seqBase;
  while (at < range.end) {
    if (context.signal?.aborted === true) throw new TraceError('cancelled', 'stopped', { input: source.path });
    const block = source.readAt(at, Math.min(BLOCK_BYTES, range.end - at));
    walker.load(block, at + shift);
    let stop = walker.run();
    while (stop === 'batch') {
      await context.emit(walker.batch!);
      stop = walker.run();
    }
    const before = at;
    at += walker.at;
    if (stop === 'damaged') {
      addDamage(session, range.end - at, at);
      break;
    }
    if (stop === 'special') {
      const special = decodeSpecial(block, walker.at, session.header.little);
      if (special.payload) shift += (await compressed.push(special.payload, at + shift)) - special.size;
      else takeFollowing(session, source, special, at, range.end);
      at += special.size + special.following;
    } else if (at === before) {
      session.skips.add('record cut off at the end of the data', `byte ${at}`);
      break;
    }
    context.onBlock(at - before);
    await setImmediate();
  }
  return at + shift + (await compressed.finish(at + shift));
}

function addDamage(session: Session, left: number, at: number): void {
  session.skips.add(`record of an impossible size; the ${left} bytes from there on are not read`, `byte ${at}`);
}

interface Special {
  readonly type: number;
  readonly size: number;
  /** Bytes that follow the record and belong to it. */
  readonly following: number;
  /** Compressed records; null for the other types. */
  readonly payload: Uint8Array | null;
}

/** COMPRESSED (zstd bytes to its end), COMPRESSED2 (u64 size, zstd bytes, padding), TRACING_DATA and AUXTRACE (bytes behind). */
function decodeSpecial(bytes: Uint8Array, at: number, little: boolean): Special {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const type = view.getUint32(at, little);
  const size = view.getUint16(at + 6, little);
  if (type === PERF_RECORD_COMPRESSED) return { type, size, following: 0, payload: bytes.subarray(at + 8, at + size) };
  // perf before 4.20 wrote no padding behind the size.
  if (type === PERF_RECORD_TRACING_DATA && size >= 12) {
    return { type, size, following: view.getUint32(at + 8, little), payload: null };
  }
  if (size < 16) return { type, size, following: 0, payload: null };
  const length = readU64(view, at + 8, little);
  if (type === PERF_RECORD_AUXTRACE) return { type, size, following: length, payload: null };
  return { type, size, following: 0, payload: bytes.subarray(at + 16, Math.min(at + 16 + length, at + size)) };
}

function takeFollowing(session: Session, source: Source, special: Special, at: number, end: number): void {
  const { size, following } = special;
  if (at + size + following > end) session.skips.add('the file ends inside the data of a record', `byte ${at}`);
  if (special.type !== PERF_RECORD_TRACING_DATA) return;
  const length = Math.min(following, end - at - size, MAX_TRACING_BYTES);
  takeTracingData(session, source.readAt(at + size, length).slice(), `byte ${at}`);
}

interface Compressed {
  /** Decompresses one payload and reads the records in it; gives the decompressed bytes that came of it. */
  push(payload: Uint8Array, seq: number): Promise<number>;
  finish(seq: number): Promise<number>;
}

/** All compressed records of a file are one zstd stream, and records may straddle them. */
function makeCompressed(context: StreamContext): Compressed {
  const { session } = context;
  const walker = makeWalker(session, context.samples);
  let stream: ZstdStream | null = null;
  let rest: Uint8Array = new Uint8Array(0);
  let broken = false;

  /** Reads all pieces; a record that began in an earlier piece has its first bytes in `rest`. */
  async function takePieces(pieces: Generator<Uint8Array>, seq: number): Promise<number> {
    let length = 0;
    try {
      for (const piece of pieces) {
        const block = rest.length === 0 ? piece : Buffer.concat([rest, piece]);
        await walkPiece(walker, context, block, seq + length - rest.length);
        length += piece.length;
        if (walker.at < block.length && broken) break;
        rest = block.subarray(walker.at);
      }
    } catch (error) {
      if (!(error instanceof TraceError) || error.code !== 'corrupt') throw error;
      broken = true;
      session.skips.add(`compressed records: ${error.message}`, `byte ${seq}`);
    }
    return length;
  }

  async function walkPiece(own: Walker, { emit }: StreamContext, block: Uint8Array, seq: number): Promise<void> {
    own.load(block, seq);
    for (let stop = own.run(); stop !== 'rest'; stop = own.run()) {
      if (stop === 'batch') await emit(own.batch!);
      else if (stop === 'special') {
        // None of these is ever written by the kernel, from whose buffer the compressed bytes come.
        session.skips.add('record of the recorder inside compressed data', `byte ${seq + own.at}`);
        own.at += new DataView(block.buffer, block.byteOffset).getUint16(own.at + 6, session.header.little);
      } else {
        broken = true;
        addDamage(session, block.length - own.at, seq + own.at);
        return;
      }
    }
  }

  return {
    async push(payload, seq) {
      if (broken) {
        session.skips.add('compressed records behind the damage', `byte ${seq}`);
        return 0;
      }
      stream ??= makeZstdStream();
      return takePieces(stream.push(payload), seq);
    },
    async finish(seq) {
      if (!stream || broken) return 0;
      const length = await takePieces(stream.finish(), seq);
      if (rest.length > 0 && !broken) {
        session.skips.add('record cut off at the end of the data', `byte ${seq + length - rest.length}`);
      }
      return length;
    },
  };
}
