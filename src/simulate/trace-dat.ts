/** The run as trace-cmd would have recorded it: trace.dat version 7, uncompressed (reference 08). */
import type { EventDefinition } from './event-set.js';
import type { SimEvent } from './host.js';
import type { SimulatedRun } from './index.js';
import { isArmPlatform } from './options.js';
import { getterOf } from './text.js';

const PAGE_BYTES = 4096;
const PAGE_HEADER = 16;

/** Commit word: events were missed before this page; their count stands behind the data (ring_buffer.c). */
const RB_MISSED_EVENTS = 1n << 31n;
const RB_MISSED_STORED = 1n << 30n;

/** Largest delta of an entry; beyond it a time extend goes first. */
const MOST_DELTA = 2 ** 27;
const TYPE_TIME_EXTEND = 30;

/** Ids of sections and options (trace-cmd: TRACECMD_OPTION_*). */
const ID = {
  OPTIONS: 0,
  BUFFER: 3,
  TRACECLOCK: 4,
  UNAME: 5,
  CPUCOUNT: 8,
  VERSION: 9,
  STRINGS: 15,
  HEADER_INFO: 16,
  FTRACE_EVENTS: 17,
  EVENT_FORMATS: 18,
  KALLSYMS: 19,
  PRINTK: 20,
  CMDLINES: 21,
} as const;

const HEADER_PAGE_TEXT =
  '\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;\n' +
  '\tfield: local_t commit;\toffset:8;\tsize:8;\tsigned:1;\n' +
  '\tfield: char overwrite;\toffset:8;\tsize:1;\tsigned:0;\n' +
  '\tfield: char data;\toffset:16;\tsize:4080;\tsigned:0;\n';

const HEADER_EVENT_TEXT =
  '# compressed entry header\n\ttype_len    :    5 bits\n\ttime_delta  :   27 bits\n\tarray       :   32 bits\n\n' +
  '\tpadding     : type == 29\n\ttime_extend : type == 30\n\ttime_stamp : type == 31\n\tdata max type_len  == 28\n';

/** The bytes of the file. */
export function writeTraceDat(run: SimulatedRun): Uint8Array {
  const file = new FileParts();
  file.add(Buffer.from('\x17\x08\x44tracing7\0', 'latin1'), Uint8Array.of(0, 8), u32(PAGE_BYTES), z('none'), z(''));
  const optionsAt = file.add(u64(0n));
  file.section(ID.STRINGS, [z('headers')]);
  const offsets = metadata(run).map(([id, body]) => [id, file.section(id, body)] as const);
  const buffer = addBuffer(file, run);
  const options = [
    ...offsets.map(([id, offset]) => option(id, u64(BigInt(offset)))),
    option(ID.UNAME, z(`Linux synthetic 7.3.4 ${isArmPlatform(run.options.platform) ? 'aarch64' : 'x86_64'}`)),
    option(ID.VERSION, z('gmemtrace simulate (synthetic)')),
    option(ID.CPUCOUNT, u32(run.cpus)),
    option(ID.TRACECLOCK, z('local global counter uptime perf [mono] mono_raw boot\n')),
    option(ID.BUFFER, buffer),
    option(ID.OPTIONS, u64(0n)),
  ];
  const options0 = file.section(ID.OPTIONS, options);
  const bytes = file.bytes();
  Buffer.from(bytes.buffer, bytes.byteOffset).writeBigUInt64LE(BigInt(options0), optionsAt);
  return bytes;
}

/** Pieces of the file and how long they are together. */
class FileParts {
  readonly #parts: Uint8Array[] = [];
  #length = 0;

  /** Gives the offset of the first of the parts. */
  add(...parts: readonly Uint8Array[]): number {
    const at = this.#length;
    for (const part of parts) {
      this.#parts.push(part);
      this.#length += part.length;
    }
    return at;
  }

  get length(): number {
    return this.#length;
  }

  /** A section with its header; gives the header's offset. */
  section(id: number, body: readonly Uint8Array[]): number {
    const size = body.reduce((sum, part) => sum + part.length, 0);
    return this.add(u16(id), u16(0), u32(0), u64(BigInt(size)), ...body);
  }

  bytes(): Uint8Array {
    return Buffer.concat(this.#parts);
  }
}

function metadata({ definitions, events }: SimulatedRun): (readonly [number, Uint8Array[]])[] {
  const systems = new Map<string, EventDefinition[]>();
  for (const definition of definitions) {
    const list = systems.get(definition.system);
    if (list) list.push(definition);
    else systems.set(definition.system, [definition]);
  }
  const own = systems.get('ftrace') ?? [];
  systems.delete('ftrace');
  const kallsyms = Buffer.from(kallsymsOf(definitions));
  return [
    [ID.HEADER_INFO, [z('header_page'), sized(HEADER_PAGE_TEXT), z('header_event'), sized(HEADER_EVENT_TEXT)]],
    [ID.FTRACE_EVENTS, [u32(own.length), ...own.map(({ formatText }) => sized(formatText))]],
    [
      ID.EVENT_FORMATS,
      [
        u32(systems.size),
        ...[...systems].flatMap(([system, list]) => [
          z(system),
          u32(list.length),
          ...list.map(({ formatText }) => sized(formatText)),
        ]),
      ],
    ],
    [ID.KALLSYMS, [u32(kallsyms.length), kallsyms]],
    [ID.PRINTK, [u32(0)]],
    [ID.CMDLINES, [sized(cmdlinesOf(events))]],
  ];
}

/** The functions that probes sit on, and their callers where return probes point. */
function kallsymsOf(definitions: readonly EventDefinition[]): string {
  const lines = definitions.flatMap(({ probe }) => {
    if (!probe) return [];
    const module = probe.module === '' ? '' : `\t[${probe.module}]`;
    const caller = (probe.address + 0x1000n).toString(16);
    return [`${probe.address.toString(16)} t ${probe.fn}${module}`, `${caller} t ${probe.caller}${module}`];
  });
  return lines.map((line) => `${line}\n`).join('');
}

function cmdlinesOf(events: readonly SimEvent[]): string {
  const names = new Map<number, string>();
  for (const { tid, comm } of events) if (tid !== 0) names.set(tid, comm);
  return [...names].map(([tid, comm]) => `${tid} ${comm}\n`).join('');
}

/** The section with all CPUs' pages; gives the payload of its BUFFER option. */
function addBuffer(file: FileParts, run: SimulatedRun): Uint8Array {
  const streams = streamsOf(run);
  const sectionAt = file.length;
  const dataAt = alignUp(sectionAt + 16);
  const size = streams.reduce((sum, { pages }) => sum + pages.length * PAGE_BYTES, 0);
  file.add(u16(ID.BUFFER), u16(0), u32(0), u64(BigInt(dataAt - sectionAt - 16 + size)));
  file.add(new Uint8Array(dataAt - sectionAt - 16));
  const ranges = streams.map(({ cpu, pages }) => {
    const at = file.add(...pages);
    return Buffer.concat([u32(cpu), u64(BigInt(at)), u64(BigInt(pages.length * PAGE_BYTES))]);
  });
  return Buffer.concat([u64(BigInt(sectionAt)), z(''), z('mono'), u32(PAGE_BYTES), u32(streams.length), ...ranges]);
}

interface Stream {
  readonly cpu: number;
  readonly pages: Uint8Array[];
}

/** The ring-buffer pages of each CPU that has events. */
function streamsOf({ events, losses, cpus, options: { lostMarks } }: SimulatedRun): Stream[] {
  const lostBefore = new Map<number, number>();
  if (lostMarks !== 'none') {
    for (const { before, count } of losses) lostBefore.set(before, lostMarks === 'counted' ? count : Infinity);
  }
  const writers = Array.from({ length: cpus }, () => new PageWriter());
  for (const [position, event] of events.entries()) {
    writers[event.cpu]!.add(event, lostBefore.get(position) ?? 0);
  }
  return writers.flatMap((writer, cpu) => {
    const pages = writer.finish();
    return pages.length === 0 ? [] : [{ cpu, pages }];
  });
}

/** Fills one CPU's pages with entries. */
class PageWriter {
  readonly #pages: Uint8Array[] = [];
  #page: Buffer | null = null;
  #used = 0;
  #lastNs = 0n;
  #lost = 0;

  /** @param lost events missing before this one; Infinity: nobody says how many */
  add(event: SimEvent, lost: number): void {
    const payload = encodeEvent(event);
    const ns = BigInt(event.ns);
    if (lost > 0) this.#close();
    const isLong = payload.length > 112;
    const need = 4 + (isLong ? 4 : 0) + payload.length + 8;
    if (!this.#page || this.#used + need > PAGE_BYTES - PAGE_HEADER - 8) this.#open(ns, lost);
    const page = this.#page!;
    let delta = Number(ns - this.#lastNs);
    if (delta >= MOST_DELTA) {
      this.#word(page, TYPE_TIME_EXTEND + (delta % MOST_DELTA) * 32);
      this.#word(page, Math.floor(delta / MOST_DELTA));
      delta = 0;
    }
    if (isLong) {
      this.#word(page, delta * 32);
      this.#word(page, payload.length + 4);
    } else this.#word(page, payload.length / 4 + delta * 32);
    payload.copy(page, PAGE_HEADER + this.#used);
    this.#used += payload.length;
    this.#lastNs = ns;
  }

  finish(): Uint8Array[] {
    this.#close();
    return this.#pages;
  }

  #word(page: Buffer, value: number): void {
    page.writeUInt32LE(value >>> 0, PAGE_HEADER + this.#used);
    this.#used += 4;
  }

  #open(ns: bigint, lost: number): void {
    this.#close();
    this.#page = Buffer.alloc(PAGE_BYTES);
    this.#page.writeBigUInt64LE(ns, 0);
    this.#lastNs = ns;
    this.#used = 0;
    this.#lost = lost;
  }

  #close(): void {
    const page = this.#page;
    if (!page) return;
    let commit = BigInt(this.#used);
    if (this.#lost > 0) commit |= RB_MISSED_EVENTS;
    if (this.#lost > 0 && this.#lost < Infinity) {
      commit |= RB_MISSED_STORED;
      page.writeBigUInt64LE(BigInt(this.#lost), PAGE_HEADER + this.#used);
    }
    page.writeBigUInt64LE(commit, 8);
    this.#pages.push(page);
    this.#page = null;
  }
}

/** The record: common fields, then the event's own where its format says. Padded to 4 bytes. */
function encodeEvent({ definition, values, tid }: SimEvent): Buffer {
  const { fields } = definition;
  const tail = fields.at(-1);
  const text = tail?.size === 0 ? Buffer.from(`${String(values.at(-1))}\0`) : null;
  const end = fields.reduce((most, { offset, size }) => Math.max(most, offset + size), 8);
  const record = Buffer.alloc(Math.ceil((end + (text?.length ?? 0)) / 4) * 4);
  record.writeUInt16LE(definition.id, 0);
  record.writeUInt8(definition.commonFlags, 2);
  record.writeUInt8(definition.preemptCount, 3);
  record.writeInt32LE(tid, 4);
  const get = getterOf(definition, values);
  for (const { name, offset, size } of fields) {
    const value = get(name);
    if (typeof value === 'string') {
      if (size > 0) record.write(value.slice(0, size - 1), offset, 'latin1');
    } else if (value !== null) writeNumber(record, BigInt.asUintN(size * 8, value), offset, size);
  }
  text?.copy(record, tail!.offset);
  return record;
}

function writeNumber(record: Buffer, value: bigint, offset: number, size: number): void {
  if (size === 8) record.writeBigUInt64LE(value, offset);
  else record.writeUIntLE(Number(value), offset, size);
}

function alignUp(offset: number): number {
  return Math.ceil(offset / PAGE_BYTES) * PAGE_BYTES;
}

function option(id: number, payload: Uint8Array): Uint8Array {
  return Buffer.concat([u16(id), u32(payload.length), payload]);
}

/** A text with its size before it. */
function sized(text: string): Uint8Array {
  const bytes = Buffer.from(text);
  return Buffer.concat([u64(BigInt(bytes.length)), bytes]);
}

function z(text: string): Uint8Array {
  return Buffer.from(`${text}\0`);
}

function u16(value: number): Uint8Array {
  return Uint8Array.of(value & 0xff, value >> 8);
}

function u32(value: number): Uint8Array {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function u64(value: bigint): Uint8Array {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return bytes;
}
