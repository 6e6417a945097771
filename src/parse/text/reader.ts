/** Reads a text of any family into batches. */
import { TraceError } from '../../base/errors.js';
import { StringTable } from '../batch.js';
import { ByteStrings } from '../byte-strings.js';
import type { BatchSink, EventReader, EventSchema, ReadOptions, ReadSummary, TraceMeta } from '../model.js';
import { SkipLog } from '../skips.js';
import type { Source } from '../source.js';
import { ClockWitness } from './clock-guess.js';
import { decode } from './bytes.js';
import type { FamilyName } from './dialect.js';
import { EventTable } from './event-table.js';
import { judgeHead } from './head.js';
import type { HeadVotes } from './head.js';
import { LineReader } from './line-reader.js';
import { LineSource, MAX_LINE_BYTES } from './line-source.js';
import type { Output } from './output.js';
import { findRefusal } from './refused.js';

const HEAD_BYTES = 64 * 1024;
/** Rows waiting in all batches together, beyond which all are given to the sink. */
const MAX_WAITING_ROWS = 1_500_000;

export function makeTextReader(family: FamilyName, source: Source): EventReader {
  return { read: (sink, options) => new TextReading(family, source, sink, options ?? {}).run() };
}

/** One run over one text. */
class TextReading {
  private readonly head: Uint8Array;
  private readonly votes: HeadVotes;
  private readonly skips = new SkipLog();
  private readonly full: Output[] = [];
  private readonly events: EventTable;
  private readonly lines = new LineSource();
  private readonly reader: LineReader;
  private readonly schemas = new Set<EventSchema>();
  private readonly witness = new ClockWitness();
  private readonly family: FamilyName;
  private readonly source: Source;
  private readonly sink: BatchSink;
  private readonly options: ReadOptions;

  constructor(family: FamilyName, source: Source, sink: BatchSink, options: ReadOptions) {
    this.family = family;
    this.source = source;
    this.sink = sink;
    this.options = options;
    this.head = source.readAt(0, HEAD_BYTES).slice();
    this.votes = judgeHead(this.head);
    const table = new StringTable();
    this.events = new EventTable(
      {
        table,
        strings: new ByteStrings(table, (bytes) => decode(bytes, 0, bytes.length)),
        full: this.full,
        kernelText: family === 'ftrace-text' || family === 'hyp-text',
        probes: options.probes ?? new Map(),
        oddity: (reason, line) => this.skips.add(reason, `line ${line}`),
      },
      family === 'hyp-text' ? 'hypervisor' : null,
    );
    this.lines.onLongLine = (line) => this.skips.add(`line longer than ${MAX_LINE_BYTES} bytes`, `line ${line}`);
    this.reader = new LineReader({
      family,
      votes: this.votes,
      events: this.events,
      skips: this.skips,
      witness: this.witness,
      clockOffsetNs: options.clockOffsetNs ?? 0n,
    });
  }

  async run(): Promise<ReadSummary> {
    const { lines, reader, options } = this;
    if (this.head.length === 0) {
      throw new TraceError('truncated', 'is empty', { input: this.source.path, line: 1 });
    }
    for await (const chunk of this.source.stream()) {
      if (options.signal?.aborted)
        throw new TraceError('cancelled', 'reading was cancelled', { input: this.source.path });
      lines.feed(chunk);
      reader.beginChunk(chunk);
      while (lines.next()) {
        reader.read(lines);
        if (this.full.length > 0) await this.emitFull();
      }
      await this.emitMany();
      options.onProgress?.(lines.bytesRead, this.source.size, reader.count);
    }
    if (lines.last()) {
      reader.read(lines);
      await this.emitFull();
    }
    this.full.length = 0;
    for (const output of this.events.finish()) await this.emit(output);
    if (this.source.damage !== null)
      this.skips.add(`compressed input is damaged: ${this.source.damage}`, `line ${lines.line}`);
    if (reader.count === 0) this.refuseUnread();
    return this.summary();
  }

  private async emitFull(): Promise<void> {
    for (const output of this.full.splice(0)) await this.emit(output);
  }

  private async emitMany(): Promise<void> {
    const outputs = this.events.outputs();
    const waiting = outputs.reduce((sum, output) => sum + output.batch.length, 0);
    if (waiting < MAX_WAITING_ROWS) return;
    for (const output of outputs) await this.emit(output);
  }

  private async emit(output: Output): Promise<void> {
    if (output.batch.length === 0) return;
    this.schemas.add(output.schema);
    await this.sink(output.batch);
    output.clear();
    this.reader.forgetRows();
  }

  /** No event at all: an empty trace has its header, everything else is none that can be read. */
  private refuseUnread(): void {
    const refusal = findRefusal(this.head);
    const place = { input: this.source.path, line: Math.max(1, this.reader.firstOddLine) };
    if (refusal)
      throw new TraceError('unknown-format', `the text is ${refusal.what}`, { ...place, hint: refusal.hint });
    if (this.reader.oddLines === 0 && this.votes.hasTracerHeader) return;
    throw new TraceError('unknown-format', `no line can be read as an event of ${this.family}`, {
      ...place,
      hint: 'a trace of ftrace, trace-cmd report or perf script has task, CPU, time and event name on each line',
    });
  }

  private summary(): ReadSummary {
    const { reader } = this;
    return {
      meta: this.meta(),
      lost: reader.losses.list(),
      skipped: this.skips.list(),
      tasks: reader.tasks.sightings,
      schemas: [...this.schemas],
      events: reader.count,
      firstNs: reader.firstNs,
      lastNs: reader.lastNs,
    };
  }

  private meta(): TraceMeta {
    const { reader, family, options } = this;
    const { facts, stamps } = reader;
    const isReport = family === 'trace-cmd-report';
    const verdict =
      stamps.integers > stamps.fractions
        ? this.witness.verdict(isReport, options.clock)
        : { clock: options.clock ?? (family === 'hyp-text' ? 'boot' : 'unknown'), unit: 'ns' as const, note: null };
    const notes = [...reader.notes()];
    if (verdict.note !== null) notes.push(verdict.note);
    const arch = facts.arch ?? (family === 'hyp-text' ? 'aarch64' : null);
    return {
      path: this.source.path,
      format: family,
      version: this.votes.dialects[family].name,
      kernel: facts.kernel,
      arch,
      clock: verdict.clock,
      clockUnit: verdict.unit,
      resolutionNs: verdict.unit === 'ns' && stamps.decimals > 0 ? 10 ** (9 - stamps.decimals) : 1,
      recorder: facts.recorder ?? (isReport ? 'trace-cmd' : family === 'perf-script' ? 'perf' : null),
      host: facts.host,
      cpus: facts.cpus,
      enabledEvents: null,
      notes,
    };
  }
}
