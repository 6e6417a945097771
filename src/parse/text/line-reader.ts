/** Takes a text apart line by line: events to their rows, everything else to where it belongs. */
import type { SkipLog } from '../skips.js';
import { decode, startsWith } from './bytes.js';
import { ClockWitness } from './clock-guess.js';
import { LineContext } from './context.js';
import type { LineKind } from './context.js';
import { Cursor, isDigit, wordsToBigInt } from './cursor.js';
import { DIALECTS } from './dialect.js';
import type { FamilyName, Scanner } from './dialect.js';
import type { EventKind } from './event-kind.js';
import type { EventTable } from './event-table.js';
import type { HeadVotes } from './head.js';
import { emptyFacts, parseLossLine, readHeaderLine } from './headers.js';
import type { LineSource } from './line-source.js';
import { LossLog } from './losses.js';
import { StampReader } from './stamps.js';
import { TaskLog } from './tasks.js';

export interface LineReaderOptions {
  readonly family: FamilyName;
  readonly votes: HeadVotes;
  readonly events: EventTable;
  readonly skips: SkipLog;
  readonly witness: ClockWitness;
  readonly clockOffsetNs: bigint;
}

const HASH = 0x23;
const SPACE = 0x20;
const ESCAPE = 0x1b;
/** A comment or other odd line is looked at up to here. */
const LOOK_BYTES = 1000;

/** Lines that recorders print beside events, and that say nothing about the trace. */
const CHATTER =
  /^(?:\s*version = |trace-cmd: |CPU \d+ is empty|CPU\d+ data recorded at|\s+\d+ bytes in size|\s*--?\s*$|cpus=\d+)/;

export class LineReader {
  readonly tasks = new TaskLog();
  readonly losses = new LossLog();
  readonly facts = emptyFacts();
  readonly stamps: StampReader;
  /** Events read. */
  count = 0;
  /** Lines that are neither events nor known to be anything else, and the first of them. */
  oddLines = 0;
  firstOddLine = 0;
  private readonly context = new LineContext();
  private readonly cursor = new Cursor();
  private readonly scan: Scanner;
  private readonly isScript: boolean;
  private hasEscapes = false;
  private lacksCpu = false;
  private frames = 0;
  /** The print event of the line before, to which a line without context belongs. */
  private print: EventKind | null = null;
  private inStack = false;
  private minLo = 0;
  private minHi = 0;
  private maxLo = 0;
  private maxHi = 0;
  private readonly instances = new Set<string>();
  private readonly options: LineReaderOptions;

  constructor(options: LineReaderOptions) {
    this.options = options;
    this.stamps = new StampReader(options.clockOffsetNs);
    this.scan = options.votes.dialects[options.family].scan;
    this.isScript = DIALECTS['perf-script'].some((dialect) => dialect.scan === this.scan);
  }

  /** Looks at a chunk as a whole before its lines are read. */
  beginChunk(chunk: Uint8Array): void {
    this.hasEscapes = chunk.includes(ESCAPE);
  }

  /** Rows written before are gone: nothing more can be added to them. */
  forgetRows(): void {
    this.print = null;
  }

  get firstNs(): bigint | null {
    return this.count === 0 ? null : wordsToBigInt(this.minLo, this.minHi, true);
  }

  get lastNs(): bigint | null {
    return this.count === 0 ? null : wordsToBigInt(this.maxLo, this.maxHi, true);
  }

  /** Reads the current line. */
  read(lines: LineSource): void {
    const { cursor, context } = this;
    let { buf, from, to } = lines;
    while (to > from && (buf[to - 1] === 0x0d || buf[to - 1] === 0)) to--;
    if (this.hasEscapes && buf.subarray(from, to).includes(ESCAPE)) {
      buf = withoutEscapes(buf, from, to);
      from = 0;
      to = buf.length;
    }
    context.line = lines.line;
    if (context.line === 1 && buf[from] === 0xef && buf[from + 1] === 0xbb && buf[from + 2] === 0xbf) from += 3;
    if (this.options.votes.prefix !== 'none') from = this.skipPrefix(buf, from, to);
    if (from >= to) return;
    cursor.buf = buf;
    cursor.pos = from;
    cursor.end = to;
    const first = buf[from]!;
    if (first === HASH) {
      this.readHeader(decode(buf, from, Math.min(to, from + LOOK_BYTES)));
      return;
    }
    if (first === 0x43 && startsWith(buf, from, to, 'CPU:')) {
      if (this.readLoss(decode(buf, from, Math.min(to, from + LOOK_BYTES)))) return;
    }
    const { instanceColumn } = this.options.votes;
    if (instanceColumn > 0) this.skipInstance(from, instanceColumn);
    const kind = this.scan(cursor, context, this.stamps);
    if (kind === 'none') {
      cursor.pos = from;
      this.readOther(from, to);
    } else if (kind === 'stack') {
      this.inStack = true;
      this.options.skips.add('stack trace (not kept)', `line ${context.line}`);
    } else this.readEvent(kind, to);
  }

  private readEvent(kind: LineKind, to: number): void {
    const { cursor, context } = this;
    const { events, skips, witness } = this.options;
    const isNameless = kind === 'function' || kind === 'record';
    const event = isNameless ? events.nameless(kind) : events.find(cursor.buf, context, kind);
    if (event === null) {
      skips.add('more different events than a kernel has', `line ${context.line}`);
      return;
    }
    this.inStack = false;
    this.count++;
    this.seeTime();
    this.losses.see(context);
    if (!context.isTaskKnown) this.tasks.see(cursor.buf, context);
    if (!context.hasCpu) this.lacksCpu = true;
    if (this.stamps.fractions === 0) {
      witness.see(context);
      if (ClockWitness.wants(cursor.buf, context)) witness.look(cursor.buf, context, to);
    }
    cursor.pos = isNameless ? context.nameFrom : context.textFrom;
    // the last bracket of `sys_ioctl(fd: 4)`
    cursor.end = kind === 'syscall-enter' ? to - 1 : to;
    event.store(cursor, context);
    this.print = event.isPrint ? event : null;
  }

  private seeTime(): void {
    const { tsLo, tsHi } = this.context;
    if (this.count === 1) {
      this.minLo = this.maxLo = tsLo;
      this.minHi = this.maxHi = tsHi;
      return;
    }
    if (tsHi > this.maxHi || (tsHi === this.maxHi && tsLo >>> 0 > this.maxLo >>> 0)) {
      this.maxLo = tsLo;
      this.maxHi = tsHi;
    } else if (tsHi < this.minHi || (tsHi === this.minHi && tsLo >>> 0 < this.minLo >>> 0)) {
      this.minLo = tsLo;
      this.minHi = tsHi;
    }
  }

  private readHeader(text: string): void {
    if (this.readLoss(text)) return;
    this.losses.overwrite(readHeaderLine(text, this.facts));
  }

  private readLoss(text: string): boolean {
    const loss = parseLossLine(text);
    if (loss) this.losses.lose(loss.cpu, loss.count, loss.source);
    return loss !== null;
  }

  /** A line that is no event. */
  private readOther(from: number, to: number): void {
    const { cursor, context } = this;
    const text = decode(cursor.buf, from, Math.min(to, from + LOOK_BYTES));
    const trimmed = text.trim();
    if (trimmed === '') return;
    if (this.inStack ? /^\s*=> |^\s*<-? |^\s*=>$/.test(text) : /^ => /.test(text)) {
      this.frames++;
      return;
    }
    if (this.isScript && this.readScriptOther(text)) return;
    const cpus = /(?:^|: )cpus=(\d+)$/.exec(trimmed);
    if (cpus) {
      this.facts.cpus = Number(cpus[1]);
      return;
    }
    if (this.readLoss(text) || CHATTER.test(text)) return;
    if (this.print?.append(decode(cursor.buf, from, to))) return;
    if (this.oddLines++ === 0) this.firstOddLine = context.line;
    this.options.skips.add('line that is no event', `line ${context.line}`);
  }

  /** Frames of call chains, and side-band records that `--show-*-events` puts between the samples. */
  private readScriptOther(text: string): boolean {
    const { context } = this;
    if (/^\s+[0-9a-f]+ /.test(text)) {
      this.frames++;
      return true;
    }
    const lost = /PERF_RECORD_LOST(?:_SAMPLES)? lost (\d+)/.exec(text);
    const cpu = /\[(\d{3,5})\]/.exec(text);
    if (lost && cpu) this.losses.lose(Number(cpu[1]), Number(lost[1]), 'perf-lost');
    else if (text.includes(' PERF_RECORD_')) {
      this.options.skips.add('side-band record of perf (no event)', `line ${context.line}`);
    } else return false;
    return true;
  }

  private skipPrefix(buf: Uint8Array, from: number, to: number): number {
    let pos = from;
    if (this.options.votes.prefix === 'grep') {
      while (pos < to && isDigit(buf[pos]!)) pos++;
      return pos > from && (buf[pos] === 0x3a || buf[pos] === 0x2d) ? pos + 1 : from;
    }
    while (pos < to && buf[pos] !== 0x5d) pos++;
    return pos < to ? pos + 2 : from;
  }

  private skipInstance(from: number, column: number): void {
    const { cursor } = this;
    if (cursor.end - from <= column || cursor.buf[from + column] !== SPACE) return;
    const last = cursor.buf[from + column - 1];
    if (last !== SPACE && last !== 0x3a) return;
    if (last === 0x3a && this.instances.size < 100) {
      this.instances.add(decode(cursor.buf, from, from + column - 1).trim());
    }
    cursor.pos = from + column;
  }

  /** Facts for TraceMeta.notes. */
  notes(): string[] {
    const notes: string[] = [];
    if (this.losses.overwrittenEvents > 0) notes.push(`overwritten ${this.losses.overwrittenEvents} events`);
    if (this.instances.size > 0) {
      notes.push(`lines of the buffers ${[...this.instances].sort().join(', ')}; their clocks may differ`);
    }
    if (this.facts.isLatency && this.options.votes.dialects[this.options.family].name === 'latency') {
      notes.push('times are relative to the start of the buffer, task names are cut to 8 characters (latency format)');
    }
    if (this.lacksCpu) notes.push('lines without a CPU are put on CPU 0');
    if (this.frames > 0) notes.push(`${this.frames} stack frames are not kept`);
    return notes;
  }
}

/** A line without ANSI escape sequences (ECMA-48 CSI). */
function withoutEscapes(buf: Uint8Array, from: number, to: number): Uint8Array {
  const kept = new Uint8Array(to - from);
  let length = 0;
  for (let pos = from; pos < to; pos++) {
    if (buf[pos] !== ESCAPE) {
      kept[length++] = buf[pos]!;
      continue;
    }
    if (buf[pos + 1] !== 0x5b) continue;
    pos += 2;
    while (pos < to && buf[pos]! < 0x40) pos++;
  }
  return kept.subarray(0, length);
}
