/** Body of a version 7 file: sections with headers, and options that point to them (trace-cmd.dat.v7(5)). */
import { TraceError } from '../../base/errors.js';
import { ByteCursor, cursorOver } from '../byte-cursor.js';
import type { ReadAt } from '../byte-cursor.js';
import type { EventFormat } from '../event-format.js';
import { SkipLog } from '../skips.js';
import {
  DEFAULT_PAGE_LAYOUT,
  parseCmdlines,
  readEventFormats,
  readFtraceFormats,
  readHeaderInfo,
} from '../tracing-data.js';
import type { TracingBlobs } from '../tracing-data.js';
import { findCompressedStreams } from './chunks.js';
import { decompressBlock } from './compression.js';
import type { CpuStream, TextRange, TraceBuffer, TraceFile } from './file.js';
import { limitStreams } from './file.js';
import { checkPageSize } from './header.js';
import type { FileHeader } from './header.js';
import { noOptions, OPTION, readOptionList } from './options.js';
import type { BufferOption, Options } from './options.js';

interface Section {
  readonly id: number;
  readonly compressed: boolean;
  /** Of the 16-byte header. */
  readonly offset: number;
  /** Bytes behind the header. */
  readonly size: number;
}

const SECTION_HEADER = 16;

/** Far more sections than any recording has; a file of zeros must not be walked header by header. */
const MOST_SECTIONS = 100_000;

interface Body {
  readonly header: FileHeader;
  readonly readAt: ReadAt;
  readonly size: number;
  readonly skips: SkipLog;
  readonly notes: string[];
}

/** Reads everything but the events. What is cut off or damaged is counted in the file's `skips`. */
export function openVersion7(header: FileHeader, readAt: ReadAt, size: number): TraceFile {
  const body: Body = { header, readAt, size, skips: new SkipLog(), notes: [] };
  const sections = walkSections(body);
  const options = readAllOptions(body, sections);
  const blobs = readAllBlobs(body, sections, options);
  const buffers = findBuffers(body, sections, options);
  return { header, size, options, blobs, buffers, text: findText(body, options), notes: body.notes, skips: body.skips };
}

/** All sections in file order; where a header or a section is cut off, those before it. */
function walkSections(body: Body): Section[] {
  const sections: Section[] = [];
  let pos = body.header.end;
  while (pos + SECTION_HEADER <= body.size && sections.length < MOST_SECTIONS) {
    const section = readSectionHeader(body, pos);
    if (section.id === OPTION.DONE || section.size > 0) sections.push(section);
    const end = pos + SECTION_HEADER + section.size;
    if (end > body.size) {
      body.skips.add(`section ${section.id} reaches beyond the end of the file`, `byte ${pos}`, 1);
      break;
    }
    pos = end;
  }
  return sections;
}

function readSectionHeader(body: Body, offset: number): Section {
  const cursor = new ByteCursor(body.readAt, offset, body.size, body.header.bigEndian);
  const id = cursor.u16();
  const flags = cursor.u16();
  cursor.skip(4);
  const size = cursor.u64();
  const most = 2n ** 52n;
  return { id, compressed: (flags & 1) !== 0, offset, size: Number(size > most ? most : size) };
}

/** The section's content, decompressed. Throws TraceError. */
function readSection(body: Body, section: Section): ByteCursor {
  const { header, readAt, size } = body;
  const end = Math.min(section.offset + SECTION_HEADER + section.size, size);
  const cursor = new ByteCursor(readAt, section.offset + SECTION_HEADER, end, header.bigEndian);
  if (!section.compressed) return cursor;
  const compressedSize = cursor.u32();
  const expectedSize = cursor.u32();
  return cursorOver(decompressBlock(header.compression, cursor.bytes(compressedSize), expectedSize), header.bigEndian);
}

/** Options by the chain from the header; where that is cut or loops, by all option sections that the file has. */
function readAllOptions(body: Body, sections: readonly Section[]): Options {
  const options = noOptions();
  const seen = new Set<number>();
  let next = body.header.optionsOffset;
  if (next === 0) {
    body.notes.push('the recording was not finished: the file names no options');
  }
  while (next !== 0 && !seen.has(next)) {
    seen.add(next);
    next = readOptionsAt(body, next, options);
  }
  for (const section of sections) {
    if (section.id === OPTION.DONE && !seen.has(section.offset)) {
      seen.add(section.offset);
      readOptionsAt(body, section.offset, options);
    }
  }
  return options;
}

function readOptionsAt(body: Body, offset: number, options: Options): number {
  try {
    const section = readSectionHeader(body, offset);
    if (section.id !== OPTION.DONE) throw new TraceError('corrupt', `no options at byte ${offset}`);
    return readOptionList(readSection(body, section), 7, options, body.skips);
  } catch (error) {
    if (!(error instanceof TraceError)) throw error;
    body.skips.add('options are not readable', `byte ${offset}`);
    return 0;
  }
}

function readAllBlobs(body: Body, sections: readonly Section[], options: Options): TracingBlobs {
  const { skips } = body;
  const formats: EventFormat[] = [];
  const read = <T>(id: number, decode: (cursor: ByteCursor) => T, fallback: T): T => {
    const offset = options.sections.get(id) ?? sections.find((section) => section.id === id)?.offset;
    if (offset === undefined) return fallback;
    try {
      const section = readSectionHeader(body, offset);
      if (section.id !== id) throw new TraceError('corrupt', `section ${section.id} at byte ${offset} should be ${id}`);
      return decode(readSection(body, section));
    } catch (error) {
      if (!(error instanceof TraceError)) throw error;
      skips.add(`section ${id} is not readable`, `byte ${offset}`);
      return fallback;
    }
  };
  const layout = read(OPTION.HEADER_INFO, readHeaderInfo, DEFAULT_PAGE_LAYOUT);
  read(OPTION.FTRACE_EVENTS, (cursor) => readFtraceFormats(cursor, layout, formats, skips), undefined);
  read(OPTION.EVENT_FORMATS, (cursor) => readEventFormats(cursor, layout, formats, skips), undefined);
  const kallsyms = read(OPTION.KALLSYMS, (cursor) => cursor.bytes(cursor.u32()), null);
  const printk = read(OPTION.PRINTK, (cursor) => cursor.text(cursor.u32()), '');
  const tasks = read(OPTION.CMDLINES, (cursor) => parseCmdlines(cursor.text(cursor.size())), []);
  return { layout, formats, kallsyms, printk, tasks, complete: formats.length > 0 };
}

function findBuffers(body: Body, sections: readonly Section[], options: Options): TraceBuffer[] {
  const starts = sections.map((section) => section.offset);
  const known = options.buffers.map((option) => option.offset);
  const buffers = options.buffers.map((option) => bufferOf(body, option));
  for (const section of sections) {
    if (section.id === OPTION.BUFFER && !known.includes(section.offset)) buffers.push(salvageBuffer(body, section));
  }
  const all = limitStreams(
    buffers.flatMap((buffer) => buffer.streams),
    starts,
    body.size,
    body.skips,
  );
  let next = 0;
  return buffers.map((buffer) => {
    next += buffer.streams.length;
    return { ...buffer, streams: all.slice(next - buffer.streams.length, next) };
  });
}

type RawStream = Omit<CpuStream, 'limit'>;

function bufferOf(body: Body, option: BufferOption): { name: string; pageSize: number; streams: RawStream[] } {
  let compressed = body.header.compression !== 'none';
  if (option.offset + SECTION_HEADER <= body.size) {
    const section = readSectionHeader(body, option.offset);
    if (section.id === OPTION.BUFFER) compressed = section.compressed;
  }
  const pageSize = option.pageSize === null || option.pageSize === 0 ? body.header.pageSize : option.pageSize;
  const streams = option.cpus.filter((range) => range.size > 0).map((range) => ({ ...range, compressed }));
  try {
    return { name: option.name, pageSize: checkPageSize(pageSize), streams };
  } catch {
    body.skips.add(`buffer ${JSON.stringify(option.name)} has an impossible page size`, `byte ${option.offset}`);
    return { name: option.name, pageSize: body.header.pageSize, streams };
  }
}

/**
 * Buffer data of which the option that lists its CPUs was cut off: streams start at page-aligned offsets, one behind
 * the other. Which CPU is which is not told; they are numbered in file order.
 */
function salvageBuffer(body: Body, section: Section): { name: string; pageSize: number; streams: RawStream[] } {
  const { header, size } = body;
  const end = Math.min(section.offset + SECTION_HEADER + section.size, size);
  const first = alignUp(section.offset + SECTION_HEADER, header.pageSize);
  const streams = section.compressed
    ? findCompressedStreams(body.readAt, first, end, header).map((stream, cpu) => ({
        cpu,
        ...stream,
        compressed: true,
      }))
    : [{ cpu: 0, offset: first, size: Math.max(end - first, 0), compressed: false }];
  body.notes.push(
    'the list of CPUs was cut off: CPUs are numbered in the order of their data, which may not be their number',
  );
  return { name: '', pageSize: header.pageSize, streams: streams.filter((stream) => stream.size > 0) };
}

function alignUp(offset: number, to: number): number {
  return Math.ceil(offset / to) * to;
}

function findText(body: Body, options: Options): TextRange | null {
  const offset = options.textBuffers[0]?.offset;
  if (offset === undefined || offset + SECTION_HEADER > body.size) return null;
  const section = readSectionHeader(body, offset);
  if (section.id !== OPTION.BUFFER_TEXT) return null;
  const start = offset + SECTION_HEADER;
  return { offset: start, size: Math.min(section.size, body.size - start), compressed: section.compressed };
}
