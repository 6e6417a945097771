/** What is known about a recording while its records are walked, and what is gathered on the way. */
import { TraceError } from '../../base/errors.js';
import { StringTable } from '../batch.js';
import type { EventFormat } from '../event-format.js';
import type { ReadOptions, TaskSighting } from '../model.js';
import { makeRecordDecoder } from '../record-decoder.js';
import type { RecordDecoder } from '../record-decoder.js';
import type { SkipLog } from '../skips.js';
import { parseTracingData } from '../tracing-data.js';
import { makeEventList } from './events.js';
import type { EventList } from './events.js';
import type { PerfHeader } from './header.js';
import { makeLostLog } from './lost.js';
import type { LostLog } from './lost.js';
import { makeTaskLog } from './tasks.js';
import type { TaskLog } from './tasks.js';

/** Decoder of the samples' raw data, with the formats it knows. */
export interface Payloads {
  readonly decoder: RecordDecoder;
  readonly formats: ReadonlyMap<number, EventFormat>;
  readonly tasks: readonly TaskSighting[];
}

export interface Session {
  readonly header: PerfHeader;
  readonly events: EventList;
  readonly strings: StringTable;
  readonly skips: SkipLog;
  readonly lost: LostLog;
  readonly tasks: TaskLog;
  /** CPU of a sample id by ID_INDEX, for samples that do not say theirs. */
  readonly cpuOfId: Map<number, number>;
  readonly clockOffsetNs: bigint;
  readonly probes: ReadOptions['probes'];
  /** null until TRACING_DATA was met. */
  payloads: Payloads | null;
  /** Kinds of trouble that make a line of the report, with how often. */
  readonly remarks: Map<string, number>;
}

/** The session of one reading of the recording. */
export function makeSession(header: PerfHeader, skips: SkipLog, options: ReadOptions): Session {
  const session: Session = {
    header,
    events: makeEventList(header.attrs),
    strings: new StringTable(),
    skips,
    lost: makeLostLog(),
    tasks: makeTaskLog(),
    cpuOfId: new Map(),
    clockOffsetNs: options.clockOffsetNs ?? 0n,
    probes: options.probes,
    payloads: null,
    remarks: new Map(),
  };
  session.events.describe(header.features.events);
  if (header.tracingData) takeTracingData(session, header.tracingData, 'its section');
  return session;
}

/** Makes the decoder out of the TRACING_DATA at `place`; a second one in a stream is not looked at. */
export function takeTracingData(session: Session, bytes: Uint8Array, place: string): void {
  if (session.payloads) return;
  try {
    const tracing = parseTracingData(bytes);
    for (const { reason, count, first } of tracing.skipped) session.skips.add(reason, first, count);
    session.payloads = {
      decoder: makeRecordDecoder({
        formats: tracing.formats,
        bigEndian: tracing.bigEndian,
        strings: session.strings,
        probes: session.probes,
      }),
      formats: new Map(tracing.formats.map((format) => [format.id, format])),
      tasks: tracing.tasks,
    };
  } catch (error) {
    if (!(error instanceof TraceError)) throw error;
    session.skips.add(`tracing data cannot be read: ${error.message}`, place);
  }
}

/** Counts one more case of `remark`. */
export function addRemark(session: Session, remark: string): void {
  session.remarks.set(remark, (session.remarks.get(remark) ?? 0) + 1);
}
