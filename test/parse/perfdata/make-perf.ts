/** Writes small perf.data in either byte order, to test what no recording at hand has. */

/** Bytes one after another in the byte order of the machine that is played. */
export class Writer {
  private readonly bytes: number[] = [];

  readonly little: boolean;

  constructor(little: boolean) {
    this.little = little;
  }

  get length(): number {
    return this.bytes.length;
  }

  uint(value: number | bigint, size: number): this {
    const one = Array.from({ length: size }, (_, k) => Number((BigInt(value) >> BigInt(8 * k)) & 0xffn));
    this.bytes.push(...(this.little ? one : one.reverse()));
    return this;
  }

  u8 = (value: number): this => this.uint(value, 1);
  u16 = (value: number): this => this.uint(value, 2);
  u32 = (value: number): this => this.uint(value, 4);
  u64 = (value: number | bigint): this => this.uint(BigInt.asUintN(64, BigInt(value)), 8);

  /** Text with a NUL behind it, padded to 8 bytes where `padded`. */
  text(value: string, padded = false): this {
    this.bytes.push(...Buffer.from(value), 0);
    while (padded && this.bytes.length % 8 !== 0) this.bytes.push(0);
    return this;
  }

  add(...parts: readonly (Uint8Array | Writer)[]): this {
    for (const part of parts) this.bytes.push(...(part instanceof Writer ? part.bytes : part));
    return this;
  }

  done(): Uint8Array {
    return Uint8Array.from(this.bytes);
  }
}

export interface AttrOptions {
  readonly type?: number;
  readonly config?: number;
  readonly sampleType: number;
  readonly readFormat?: number;
  /** Bits of the flag field, by their number on a little-endian machine. */
  readonly flags?: readonly number[];
  readonly clockid?: number;
  readonly size?: number;
}

/** struct perf_event_attr. */
export function makeAttr(little: boolean, options: AttrOptions): Writer {
  const size = options.size ?? 136;
  const flags = (options.flags ?? []).reduce((sum, bit) => sum | (1n << BigInt(little ? bit : 63 - bit)), 0n);
  const attr = new Writer(little)
    .u32(options.type ?? 2)
    .u32(size)
    .u64(options.config ?? 0)
    .u64(1)
    .u64(options.sampleType)
    .u64(options.readFormat ?? 0)
    .u64(flags);
  while (attr.length < size) attr.u32(attr.length === 92 ? (options.clockid ?? 0) : 0);
  return attr;
}

export function makeRecord(little: boolean, type: number, body: Writer, misc = 0): Writer {
  return new Writer(little)
    .u32(type)
    .u16(misc)
    .u16(body.length + 8)
    .add(body);
}

/** A pipe-form recording of the records. */
export function makePipe(little: boolean, records: readonly Writer[]): Uint8Array {
  return new Writer(little)
    .add(Buffer.from(little ? 'PERFILE2' : '2ELIFREP'))
    .u64(16)
    .add(...records)
    .done();
}

/** HEADER_ATTR with its ids. */
export function makeHeaderAttr(little: boolean, options: AttrOptions, ids: readonly number[] = []): Writer {
  const body = makeAttr(little, options);
  for (const id of ids) body.u64(id);
  return makeRecord(little, 64, body);
}

const COMMON = [
  'field:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;',
  'field:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;',
  'field:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;',
  'field:int common_pid;\toffset:4;\tsize:4;\tsigned:1;',
];

/** TRACING_DATA with one event `test:probe` of id 77: `u32 small` at 8, `u64 large` at 16, and its blob behind it. */
export function makeTracingData(little: boolean): Writer {
  const format = [
    'name: probe',
    'ID: 77',
    'format:',
    ...COMMON.map((line) => `\t${line}`),
    '',
    '\tfield:u32 small;\toffset:8;\tsize:4;\tsigned:0;',
    '\tfield:s64 large;\toffset:16;\tsize:8;\tsigned:1;',
    '',
    'print fmt: "small=%u", REC->small',
    '',
  ].join('\n');
  const page = [
    '\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;',
    '\tfield: local_t commit;\toffset:8;\tsize:8;\tsigned:1;',
    '\tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;',
    '\tfield: char data;\toffset:16;\tsize:4080;\tsigned:1;',
    '',
  ].join('\n');
  const blob = new Writer(little)
    .add(Uint8Array.of(0x17, 0x08, 0x44))
    .add(Buffer.from('tracing0.6\0'))
    .u8(little ? 0 : 1)
    .u8(8)
    .u32(4096)
    .add(Buffer.from('header_page\0'))
    .u64(page.length)
    .add(Buffer.from(page))
    .add(Buffer.from('header_event\0'))
    .u64(0)
    .u32(0)
    .u32(1)
    .add(Buffer.from('test\0'))
    .u32(1)
    .u64(format.length)
    .add(Buffer.from(format))
    .u32(0)
    .u32(0);
  const names = '41 CPU 0/KVM\n';
  blob.u64(names.length).add(Buffer.from(names));
  while (blob.length % 8 !== 0) blob.u8(0);
  return makeRecord(little, 66, new Writer(little).u32(blob.length).u32(0)).add(blob);
}

/** Raw data of a `test:probe` record: its u32 size, the record, padding. */
export function makeRaw(little: boolean, pid: number, small: number, large: bigint): Writer {
  return new Writer(little).u32(28).u16(77).u8(0x21).u8(3).u32(pid).u32(small).u32(0).u64(large).u32(0);
}
