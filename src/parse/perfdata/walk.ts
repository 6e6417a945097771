/** Walks the records of a block of bytes; stops where somebody else has to act. */
import type { EventBatch } from '../batch.js';
import {
  PERF_RECORD_AUXTRACE,
  PERF_RECORD_COMPRESSED,
  PERF_RECORD_COMPRESSED2,
  PERF_RECORD_SAMPLE,
  PERF_RECORD_TRACING_DATA,
  takeRecord,
} from './records.js';
import type { SampleReader } from './samples.js';
import type { Session } from './session.js';

/**
 * Why the walk stopped: the rest of the block is less than a record; a batch is full; the record at `at` brings bytes
 * behind it or inside it that are not records; the record at `at` has an impossible size.
 */
export type WalkStop = 'rest' | 'batch' | 'special' | 'damaged';

export interface Walker {
  /** Next record in the block. */
  at: number;
  /** The batch that is full, after a stop for it. */
  batch: EventBatch | null;
  /** Takes a block whose first byte has the position `seq` in the stream of records. */
  load(bytes: Uint8Array, seq: number): void;
  run(): WalkStop;
}

/** A walker for blocks of the session's records. */
export function makeWalker(session: Session, samples: SampleReader): Walker {
  const { little } = session.header;
  let bytes: Uint8Array = new Uint8Array(0);
  let view: DataView = new DataView(bytes.buffer);
  let base = 0;

  function run(): WalkStop {
    const length = bytes.length;
    let at = walker.at;
    while (at + 8 <= length) {
      const type = view.getUint32(at, little);
      const size = view.getUint16(at + 6, little);
      if (size < 8) {
        walker.at = at;
        return 'damaged';
      }
      if (at + size > length) break;
      if (type === PERF_RECORD_SAMPLE) {
        const full = samples.read(bytes, view, at, size, base + at);
        at += size;
        if (full !== null) {
          walker.at = at;
          walker.batch = full;
          return 'batch';
        }
      } else if (isSpecial(type)) {
        walker.at = at;
        return 'special';
      } else {
        const misc = view.getUint16(at + 4, little);
        takeRecord(session, samples, { bytes, view, at, size, type, misc, seq: base + at });
        at += size;
      }
    }
    walker.at = at;
    return 'rest';
  }

  const walker: Walker = {
    at: 0,
    batch: null,
    load(block, seq) {
      bytes = block;
      view = new DataView(block.buffer, block.byteOffset, block.byteLength);
      base = seq;
      walker.at = 0;
    },
    run,
  };
  return walker;
}

function isSpecial(type: number): boolean {
  return (
    type === PERF_RECORD_TRACING_DATA ||
    type === PERF_RECORD_AUXTRACE ||
    type === PERF_RECORD_COMPRESSED ||
    type === PERF_RECORD_COMPRESSED2
  );
}
