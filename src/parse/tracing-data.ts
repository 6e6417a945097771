/**
 * The metadata blobs that say how to read the records: header_page, event formats, kallsyms, printk formats, task names.
 * The same bytes stand in a trace.dat v6, in the sections of a v7 and in TRACING_DATA of perf.data
 * (trace-cmd: lib/trace-cmd/trace-output.c; perf: tools/perf/util/trace-event-info.c).
 */
import { TraceError } from '../base/errors.js';
import type { ByteCursor } from './byte-cursor.js';
import { cursorOver } from './byte-cursor.js';
import { parseEventFormat, parseFieldLine } from './event-format.js';
import type { EventFormat } from './event-format.js';
import type { Skipped, TaskSighting } from './model.js';
import { SkipLog } from './skips.js';

/** Layout of one ring-buffer page as header_page states it, in bytes. */
export interface PageLayout {
  readonly commitOffset: number;
  /** 8, or 4 on a 32-bit kernel: the kernel's `long`. */
  readonly commitSize: number;
  readonly dataOffset: number;
}

/** Layout of 64-bit kernels, taken where header_page is missing. */
export const DEFAULT_PAGE_LAYOUT: PageLayout = { commitOffset: 8, commitSize: 8, dataOffset: 16 };

export interface TracingData {
  /** `0.6`, `0.5`, `6`. */
  readonly version: string;
  readonly bigEndian: boolean;
  /** Bytes of a `long` of the recorder's user space. */
  readonly longSize: number;
  /** Bytes of a ring-buffer page. */
  readonly pageSize: number;
  readonly layout: PageLayout;
  /** ftrace's own events and all others. */
  readonly formats: readonly EventFormat[];
  /** Text of kallsyms, null where there is none. */
  readonly kallsyms: Uint8Array | null;
  /** Lines `0xADDR : "text"`. */
  readonly printk: string;
  readonly tasks: readonly TaskSighting[];
  readonly skipped: readonly Skipped[];
}

const MAGIC = [0x17, 0x08, 0x44];

/** Whether `bytes` start as trace.dat and TRACING_DATA do: 17 08 44 `tracing`. */
export function hasTracingMagic(bytes: Uint8Array): boolean {
  return MAGIC.every((byte, k) => bytes[k] === byte) && new TextDecoder().decode(bytes.subarray(3, 10)) === 'tracing';
}

/**
 * Reads a whole TRACING_DATA blob of a perf.data (version 0.5 or 0.6). What is behind its end is ignored (padding of
 * pipes); a blob that ends early gives what is before the cut and an entry in `skipped`.
 * Throws TraceError('corrupt') where it does not start as such a blob.
 */
export function parseTracingData(bytes: Uint8Array): TracingData {
  if (!hasTracingMagic(bytes)) throw new TraceError('corrupt', 'tracing data does not start with 17 08 44 tracing');
  const cursor = cursorOver(bytes, false);
  cursor.skip(10);
  const version = cursor.zString();
  cursor.bigEndian = cursor.u8() === 1;
  const longSize = cursor.u8();
  const pageSize = cursor.u32();
  const skips = new SkipLog();
  const blobs = readBlobs(cursor, skips, parseFloat(version) >= 0.6);
  return { version, bigEndian: cursor.bigEndian, longSize, pageSize, ...blobs, skipped: skips.list() };
}

/** What the six blobs in a row hold, as they stand in a v6 file and in TRACING_DATA. */
export interface TracingBlobs {
  readonly layout: PageLayout;
  readonly formats: readonly EventFormat[];
  readonly kallsyms: Uint8Array | null;
  readonly printk: string;
  readonly tasks: readonly TaskSighting[];
  /** false where the input ended inside. */
  readonly complete: boolean;
}

/** Reads the blobs from the cursor on; where the input ends inside, the rest stays empty and `skips` gets an entry. */
export function readBlobs(cursor: ByteCursor, skips: SkipLog, hasCmdlines: boolean): TracingBlobs {
  let layout = DEFAULT_PAGE_LAYOUT;
  const formats: EventFormat[] = [];
  let kallsyms: Uint8Array | null = null;
  let printk = '';
  let tasks: TaskSighting[] = [];
  let complete = false;
  try {
    layout = readHeaderInfo(cursor);
    readFtraceFormats(cursor, layout, formats, skips);
    readEventFormats(cursor, layout, formats, skips);
    const kallsymsSize = cursor.u32();
    kallsyms = kallsymsSize === 0 ? null : cursor.bytes(kallsymsSize);
    printk = cursor.text(cursor.u32());
    if (hasCmdlines) tasks = parseCmdlines(cursor.text(cursor.size()));
    complete = true;
  } catch (error) {
    if (!(error instanceof TraceError)) throw error;
    skips.add('event formats and tables cut short', `byte ${error.place.byteOffset ?? cursor.pos}`);
  }
  return { layout, formats, kallsyms, printk, tasks, complete };
}

/** `header_page\0` and `header_event\0`, each with its size and text; gives the page layout. */
export function readHeaderInfo(cursor: ByteCursor): PageLayout {
  demandTag(cursor, 'header_page\0');
  const page = cursor.text(cursor.size());
  demandTag(cursor, 'header_event\0');
  cursor.skip(cursor.size());
  return parseHeaderPage(page);
}

function demandTag(cursor: ByteCursor, tag: string): void {
  const at = cursor.pos;
  if (cursor.text(tag.length) !== tag) {
    throw new TraceError('corrupt', `byte ${at} should start ${tag.slice(0, -1)}`, { byteOffset: at });
  }
}

/** The page layout out of the text of events/header_page; the usual 64-bit layout where a line is missing. */
function parseHeaderPage(text: string): PageLayout {
  const fields = text.split('\n').map((line) => parseFieldLine(line));
  const commit = fields.find((field) => field?.name === 'commit');
  const data = fields.find((field) => field?.name === 'data');
  if (!commit || !data || (commit.size !== 4 && commit.size !== 8) || data.offset > 4096) return DEFAULT_PAGE_LAYOUT;
  return { commitOffset: commit.offset, commitSize: commit.size, dataOffset: data.offset };
}

/** ftrace's own events: `u32` count, then size and text of each. */
export function readFtraceFormats(cursor: ByteCursor, layout: PageLayout, into: EventFormat[], skips: SkipLog): void {
  readFormatList(cursor, 'ftrace', layout, into, skips);
}

/** All other events: `u32` systems, each with name, `u32` count and formats. */
export function readEventFormats(cursor: ByteCursor, layout: PageLayout, into: EventFormat[], skips: SkipLog): void {
  const systems = cursor.u32();
  for (let k = 0; k < systems; k++) readFormatList(cursor, cursor.zString(), layout, into, skips);
}

function readFormatList(
  cursor: ByteCursor,
  system: string,
  layout: PageLayout,
  into: EventFormat[],
  skips: SkipLog,
): void {
  const count = cursor.u32();
  for (let k = 0; k < count; k++) {
    const size = cursor.size();
    const at = cursor.pos;
    const format = parseEventFormat(system, cursor.text(size), layout.commitSize);
    if (format) into.push(format);
    else skips.add(`format of an event of ${system} is not readable`, `byte ${at}`);
  }
}

/** Saved command lines, `PID comm` a line; a comm may hold anything but a newline. `<...>` is no name. */
export function parseCmdlines(text: string): TaskSighting[] {
  const tasks = new Map<number, TaskSighting>();
  for (const line of text.split('\n')) {
    const space = line.indexOf(' ');
    const tid = Number(line.slice(0, Math.max(space, 0)));
    const comm = line.slice(space + 1).replace(/\0+$/, '');
    if (space <= 0 || !Number.isInteger(tid) || comm === '' || comm === '<...>') continue;
    tasks.set(tid, { tid, tgid: null, comm, fromNs: null });
  }
  return [...tasks.values()];
}
