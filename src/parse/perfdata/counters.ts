/** Samples that no event format describes: counters, software events, and tracepoints whose format is not in the file. */
import { BATCH_ROWS, growBatch, makeBatch } from '../batch.js';
import type { EventBatch, StringTable } from '../batch.js';
import type { EventSchema, FieldSpec } from '../model.js';
import type { SampleLayout } from './attr.js';

/** Where a sample's columns are: the batch, and the sample's fields in the order of the batch's columns. */
export interface CounterBatch {
  readonly batch: EventBatch;
  readonly offsets: readonly number[];
}

/** A batch for samples of one attr, with the fields `ip` and `addr` where its samples have them. */
export function makeCounterBatch(
  system: string,
  name: string,
  id: number | null,
  layout: SampleLayout,
  strings: StringTable,
): CounterBatch {
  const fields: FieldSpec[] = [];
  const offsets: number[] = [];
  for (const field of ['ip', 'addr'] as const) {
    if (layout[field] < 0) continue;
    fields.push({ name: field, type: 'u64', cType: 'u64', radix: 16 });
    offsets.push(layout[field]);
  }
  const schema: EventSchema = { system, name, id, fields, formatSource: 'file', printFmt: null, probe: null };
  return { batch: makeBatch(schema, strings), offsets };
}

/** What every sample has; one object is filled again for each. */
export interface SampleHead {
  /** Start of the record in the block. */
  at: number;
  timeLo: number;
  timeHi: number;
  cpu: number;
  tid: number;
  seqLo: number;
  seqHi: number;
  /** As EventBatch.flags. */
  flags: number;
}

/** Adds the sample; whether the batch is full now. */
export function pushCounter(
  { batch, offsets }: CounterBatch,
  head: SampleHead,
  view: DataView,
  little: boolean,
): boolean {
  if (batch.length === batch.capacity) growBatch(batch);
  const row = batch.length++;
  batch.tsWords[2 * row] = head.timeLo;
  batch.tsWords[2 * row + 1] = head.timeHi;
  batch.cpu[row] = head.cpu;
  batch.tid[row] = head.tid;
  batch.seqWords[2 * row] = head.seqLo;
  batch.seqWords[2 * row + 1] = head.seqHi;
  batch.flags[row] = head.flags;
  for (let k = 0; k < offsets.length; k++) {
    const words = batch.columns[k]!.words!;
    const at = head.at + offsets[k]!;
    words[2 * row] = view.getUint32(little ? at : at + 4, little);
    words[2 * row + 1] = view.getUint32(little ? at + 4 : at, little);
  }
  return batch.length === BATCH_ROWS;
}
