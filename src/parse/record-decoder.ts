/**
 * Raw records of tracepoints (ring buffer of trace.dat, RAW of perf.data) → columns. One decoder an event id, compiled
 * from its format at its first record; per record no object, string or BigInt is made.
 */
import { BATCH_ROWS, clearBatch, growBatch, makeBatch, setNull } from './batch.js';
import type { EventBatch, StringTable } from './batch.js';
import { ByteStrings } from './byte-strings.js';
import { planFields, probeKind, schemaOf } from './event-format.js';
import type { EventFormat, FieldPlan } from './event-format.js';
import type { Kallsyms } from './kallsyms.js';
import type { EventSchema, ProbeInfo, Skipped } from './model.js';
import { SkipLog } from './skips.js';

export interface RecordDecoderOptions {
  readonly formats: readonly EventFormat[];
  readonly bigEndian: boolean;
  readonly strings: StringTable;
  /** Probes by event name, where the trace has no kallsyms to tell the function. */
  readonly probes?: ReadonlyMap<string, ProbeInfo> | undefined;
  readonly kallsyms?: Kallsyms | null | undefined;
}

/** What to do for one column of one record; `data` arrays are fetched again whenever the batch grows. */
interface ColumnStep {
  readonly plan: FieldPlan;
  readonly column: number;
  readonly op: number;
  /** Where the value starts in the record (behind the slack of a big-endian slot). */
  readonly at: number;
  /** Bytes that the record must have for this column. */
  readonly needs: number;
  readonly texts: ByteStrings | null;
  u8: Uint8Array;
  u16: Uint16Array;
  u32: Uint32Array;
}

interface EventDecoder {
  readonly schema: EventSchema;
  readonly batch: EventBatch;
  readonly steps: ColumnStep[];
  /** Bytes that a record must have for all columns. */
  readonly minLength: number;
  readonly pidAt: number;
  readonly flagsAt: number;
  readonly preemptAt: number;
}

const OP_8 = 1;
const OP_16 = 2;
const OP_32 = 3;
const OP_64 = 4;
const OP_BOOL = 5;
const OP_TEXT = 6;
const OP_LOCATED = 7;
const OP_WORD = 8;
const OP_TWO_WORDS = 9;

const NO_BYTES = new Uint8Array(0);
const NO_WORDS = new Uint32Array(0);

/** `flags` of a row whose record has no common_flags or no common_preempt_count. */
const NO_FLAGS = 0xffff;

/** Turns records into batches, one batch an event type. */
export class RecordDecoder {
  /** Records that became rows. */
  events = 0;

  private readonly decoders: (EventDecoder | null | undefined)[] = [];
  private readonly formats = new Map<number, EventFormat>();
  private readonly skips = new SkipLog();
  private readonly shorts = new Map<EventSchema, { count: number; first: string }>();
  private readonly texts: ByteStrings;
  private readonly arrays = new Map<number, ByteStrings>();
  private readonly opts: RecordDecoderOptions;
  private readonly typeAt: number;
  private readonly little: boolean;
  private bytes: Uint8Array = NO_BYTES;
  private view: DataView = new DataView(NO_BYTES.buffer);
  /** The same bytes as little-endian words; empty where they do not start on a word. */
  private words: Uint32Array = NO_WORDS;

  constructor(opts: RecordDecoderOptions) {
    this.opts = opts;
    this.little = !opts.bigEndian;
    for (const format of opts.formats) this.formats.set(format.id, format);
    const common = opts.formats[0]?.commonFields ?? [];
    this.typeAt = common.find((field) => field.name === 'common_type')?.offset ?? 0;
    const utf8 = new TextDecoder('utf-8', { ignoreBOM: true });
    this.texts = new ByteStrings(opts.strings, (bytes) => utf8.decode(bytes));
  }

  /**
   * Decodes the record at bytes[offset, offset+length). The stamp and seq are two 32-bit halves each. Returns the event
   * type's batch when it has become full: consume it and `clearBatch` it before the next push.
   */
  push(
    bytes: Uint8Array,
    offset: number,
    length: number,
    tsLo: number,
    tsHi: number,
    cpu: number,
    seqLo: number,
    seqHi: number,
  ): EventBatch | null {
    if (bytes !== this.bytes) {
      this.bytes = bytes;
      this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      const isAligned = this.little && (bytes.byteOffset & 3) === 0;
      this.words = isAligned ? new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >> 2) : NO_WORDS;
    }
    const view = this.view;
    const little = this.little;
    if (length < this.typeAt + 2 || offset + length > bytes.length) {
      this.skips.add('record too short for an event id', placeOf(cpu, seqLo, seqHi));
      return null;
    }
    const id = view.getUint16(offset + this.typeAt, little);
    const decoder = this.decoders[id] ?? this.compile(id, offset, length);
    if (decoder === null || length < decoder.pidAt + 4) {
      const reason =
        decoder === null ? `event id ${id} has no format` : `record of ${decoder.schema.name} without common fields`;
      this.skips.add(reason, placeOf(cpu, seqLo, seqHi));
      return null;
    }
    const batch = decoder.batch;
    if (batch.length === batch.capacity) this.makeRoom(decoder);
    const row = batch.length;
    const twice = row * 2;
    batch.tsWords[twice] = tsLo;
    batch.tsWords[twice + 1] = tsHi;
    batch.seqWords[twice] = seqLo;
    batch.seqWords[twice + 1] = seqHi;
    batch.cpu[row] = cpu;
    batch.tid[row] = decoder.pidAt < 0 ? -1 : view.getInt32(offset + decoder.pidAt, little);
    batch.flags[row] =
      decoder.flagsAt < 0 ? NO_FLAGS : bytes[offset + decoder.flagsAt]! | (bytes[offset + decoder.preemptAt]! << 8);
    if (length >= decoder.minLength) this.decodeColumns(decoder, offset, length, row);
    else this.decodeShort(decoder, offset, length, row, placeOf(cpu, seqLo, seqHi));
    batch.length = row + 1;
    this.events++;
    return batch.length === BATCH_ROWS ? batch : null;
  }

  /** Whether the record that starts at `offset` of `view` has an event id with a format. */
  knows(view: DataView, offset: number): boolean {
    const at = offset + this.typeAt;
    return at + 2 <= view.byteLength && this.formats.has(view.getUint16(at, this.little));
  }

  /** The batches that still hold rows, at the end of the trace. */
  flush(): EventBatch[] {
    return this.decoders.flatMap((decoder) => (decoder && decoder.batch.length > 0 ? [decoder.batch] : []));
  }

  /** Schemas of all event types that came. */
  schemas(): EventSchema[] {
    return this.decoders.flatMap((decoder) => (decoder ? [decoder.schema] : []));
  }

  /** Records that were not or not wholly decoded, by reason. */
  skipped(): Skipped[] {
    const shorts = [...this.shorts].map(([schema, { count, first }]) => ({
      reason: `record of ${schema.system}:${schema.name} is shorter than its format`,
      count,
      first,
    }));
    return [...this.skips.list(), ...shorts];
  }

  private decodeColumns(decoder: EventDecoder, offset: number, length: number, row: number): void {
    const view = this.view;
    const little = this.little;
    const steps = decoder.steps;
    const words = this.words;
    const isAligned = (offset & 3) === 0 && words.length > 0;
    for (let k = 0; k < steps.length; k++) {
      const step = steps[k]!;
      const at = offset + step.at;
      switch (step.op) {
        case OP_WORD:
          step.u32[row] = isAligned ? words[at >> 2]! : view.getUint32(at, little);
          break;
        case OP_TWO_WORDS:
          step.u32[row * 2] = isAligned ? words[at >> 2]! : view.getUint32(at, little);
          step.u32[row * 2 + 1] = isAligned ? words[(at >> 2) + 1]! : view.getUint32(at + 4, little);
          break;
        case OP_64:
          step.u32[row * 2] = view.getUint32(little ? at : at + 4, little);
          step.u32[row * 2 + 1] = view.getUint32(little ? at + 4 : at, little);
          break;
        case OP_32:
          step.u32[row] = view.getUint32(at, little);
          break;
        case OP_16:
          step.u16[row] = view.getUint16(at, little);
          break;
        case OP_8:
          step.u8[row] = this.bytes[at]!;
          break;
        case OP_BOOL:
          step.u8[row] = this.bytes[at] === 0 ? 0 : 1;
          break;
        case OP_TEXT:
          step.u32[row] = step.texts!.idOfText(this.bytes, at, at + step.plan.size);
          break;
        default:
          step.u32[row] = this.locatedText(step, offset, length);
      }
    }
  }

  /** Text or array of which the record tells place and length; clipped to the record. */
  private locatedText(step: ColumnStep, offset: number, length: number): number {
    const plan = step.plan;
    let start = plan.offset;
    let size = plan.reach === 'rest' ? length - start : plan.size;
    if (plan.reach === 'data_loc' || plan.reach === 'rel_loc') {
      const word = this.view.getUint32(offset + plan.offset, this.little);
      start = word & 0xffff;
      if (plan.reach === 'rel_loc') start += plan.offset + 4;
      size = word >>> 16;
    }
    if (size <= 0 || start >= length) return plan.kind === 'elements' ? this.opts.strings.intern('ARRAY[]') : 0;
    const end = offset + Math.min(start + size, length);
    const texts = step.texts!;
    return plan.kind === 'chars'
      ? texts.idOfText(this.bytes, offset + start, end)
      : texts.idOfBytes(this.bytes, offset + start, end);
  }

  private decodeShort(decoder: EventDecoder, offset: number, length: number, row: number, place: string): void {
    const entry = this.shorts.get(decoder.schema);
    if (entry) entry.count++;
    else this.shorts.set(decoder.schema, { count: 1, first: place });
    const whole = decoder.steps.filter((step) => step.needs <= length);
    this.decodeColumns({ ...decoder, steps: whole }, offset, length, row);
    for (const step of decoder.steps) {
      if (step.needs > length) setNull(decoder.batch, decoder.batch.columns[step.column]!, row);
    }
  }

  private makeRoom(decoder: EventDecoder): void {
    if (decoder.batch.capacity < BATCH_ROWS) growBatch(decoder.batch);
    else clearBatch(decoder.batch);
    fetchArrays(decoder);
  }

  private compile(id: number, offset: number, length: number): EventDecoder | null {
    const known = this.decoders[id];
    if (known !== undefined) return known;
    const format = this.formats.get(id);
    const decoder = format ? this.compileFormat(format, offset, length) : null;
    this.decoders[id] = decoder;
    return decoder;
  }

  private compileFormat(format: EventFormat, offset: number, length: number): EventDecoder {
    const schema = schemaOf(format, { probe: this.probeOf(format, offset, length) });
    const steps = planFields(format).map((plan, column) => this.compileStep(plan, column, format));
    const common = (name: string, size: number): number =>
      format.commonFields.find((field) => field.name === name && field.size === size)?.offset ?? -1;
    const preemptAt = common('common_preempt_count', 1);
    const flagsAt = preemptAt < 0 ? -1 : common('common_flags', 1);
    const minLength = Math.max(preemptAt + 1, flagsAt + 1, ...steps.map((step) => step.needs));
    const batch = makeBatch(schema, this.opts.strings);
    const decoder = { schema, batch, steps, minLength, pidAt: common('common_pid', 4), flagsAt, preemptAt };
    fetchArrays(decoder);
    return decoder;
  }

  private compileStep(plan: FieldPlan, column: number, format: EventFormat): ColumnStep {
    const located = plan.kind === 'elements' || plan.reach !== 'fixed';
    const sizes: Readonly<Record<number, number>> = { 1: OP_8, 2: OP_16, 4: OP_32, 8: OP_64 };
    const at = plan.offset + (this.little ? 0 : plan.slack);
    const number =
      plan.kind === 'bool'
        ? OP_BOOL
        : this.little && at % 4 === 0 && plan.size >= 4
          ? wordOp(plan.size)
          : sizes[plan.size];
    return {
      plan,
      column,
      op: plan.kind === 'chars' && !located ? OP_TEXT : located ? OP_LOCATED : (number ?? OP_LOCATED),
      at,
      needs: plan.reach === 'rest' ? plan.offset : plan.offset + plan.size + plan.slack,
      texts:
        plan.kind === 'chars'
          ? this.textsFor(plan, format)
          : plan.kind === 'elements'
            ? this.arraysOf(plan.elementSize)
            : null,
      u8: NO_BYTES,
      u16: new Uint16Array(0),
      u32: new Uint32Array(0),
    };
  }

  /** A marker's text ends with a newline or not, as it was written; the kernel's own text output drops it. */
  private textsFor(plan: FieldPlan, format: EventFormat): ByteStrings {
    if (format.system !== 'ftrace' || plan.reach !== 'rest') return this.texts;
    const utf8 = new TextDecoder('utf-8', { ignoreBOM: true });
    return new ByteStrings(this.opts.strings, (bytes) => utf8.decode(bytes).replace(/\n$/, ''));
  }

  private arraysOf(elementSize: number): ByteStrings {
    let texts = this.arrays.get(elementSize);
    if (!texts) {
      texts = new ByteStrings(this.opts.strings, (bytes) => renderArray(bytes, elementSize, this.little));
      this.arrays.set(elementSize, texts);
    }
    return texts;
  }

  /** The function under a probe: by the address in the record where kallsyms are there, else by the event's name. */
  private probeOf(format: EventFormat, offset: number, length: number): ProbeInfo | null {
    const kind = probeKind(format);
    if (kind === null) return null;
    const named = this.opts.probes?.get(format.name) ?? null;
    const field = format.fields[0]!;
    const { kallsyms } = this.opts;
    if (kallsyms && field.offset + field.size <= length && (field.size === 8 || field.size === 4)) {
      const at = offset + field.offset;
      const wide = field.size === 8;
      const lo = this.view.getUint32(this.little || !wide ? at : at + 4, this.little);
      const hi = wide ? this.view.getUint32(this.little ? at + 4 : at, this.little) : 0;
      const fn = kallsyms.nameOf(lo, hi);
      if (fn !== null) return { fn, isReturn: kind === 'return' };
    }
    return named ?? { fn: null, isReturn: kind === 'return' };
  }
}

/** `cpu 1 byte 69632`: seq counts bytes in its low 40 bits; those above tell buffers of one file apart. */
function placeOf(cpu: number, seqLo: number, seqHi: number): string {
  return `cpu ${cpu} byte ${(seqHi & 0xff) * 4294967296 + (seqLo >>> 0)}`;
}

/** `ARRAY[ea, 5b]`: elements in hex, each of its full width, as `trace-cmd report -R` prints byte arrays. */
function renderArray(bytes: Uint8Array, elementSize: number, little: boolean): string {
  const elements: string[] = [];
  for (let at = 0; at + elementSize <= bytes.length; at += elementSize) {
    const element = [...bytes.subarray(at, at + elementSize)];
    if (little) element.reverse();
    elements.push(element.map((byte) => byte.toString(16).padStart(2, '0')).join(''));
  }
  return `ARRAY[${elements.join(', ')}]`;
}

function wordOp(size: number): number {
  return size === 4 ? OP_WORD : OP_TWO_WORDS;
}

function fetchArrays(decoder: EventDecoder): void {
  for (const step of decoder.steps) {
    const { buffer } = decoder.batch.columns[step.column]!.data;
    step.u8 = new Uint8Array(buffer);
    step.u16 = new Uint16Array(buffer, 0, buffer.byteLength >> 1);
    step.u32 = new Uint32Array(buffer, 0, buffer.byteLength >> 2);
  }
}

/** A decoder over the formats of one trace. */
export function makeRecordDecoder(opts: RecordDecoderOptions): RecordDecoder {
  return new RecordDecoder(opts);
}
