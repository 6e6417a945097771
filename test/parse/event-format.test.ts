import { describe, expect, it } from 'vitest';
import { StringTable } from '../../src/parse/batch.js';
import { parseEventFormat, planFields, schemaOf } from '../../src/parse/event-format.js';
import type { EventFormat } from '../../src/parse/event-format.js';
import { makeKallsyms } from '../../src/parse/kallsyms.js';
import { makeRecordDecoder } from '../../src/parse/record-decoder.js';

const COMMON = `	field:unsigned short common_type;	offset:0;	size:2;	signed:0;
	field:unsigned char common_flags;	offset:2;	size:1;	signed:0;
	field:unsigned char common_preempt_count;	offset:3;	size:1;	signed:0;
	field:int common_pid;	offset:4;	size:4;	signed:1;
`;

function format(system: string, name: string, fields: readonly string[], printFmt = '"x"'): EventFormat {
  const lines = fields.map((field) => `\tfield:${field};`).join('\n');
  const text = `name: ${name}\nID: 77\nformat:\n${COMMON}\n${lines}\n\nprint fmt: ${printFmt}\n`;
  return parseEventFormat(system, text)!;
}

/** `name type` of every column. */
function columns(parsed: EventFormat): string[] {
  return schemaOf(parsed).fields.map((field) => `${field.name} ${field.type}`);
}

describe('a format text', () => {
  it('gives names, types and places of the fields', () => {
    const parsed = format('kvm', 'kvm_thing', [
      'u64 gpa;	offset:8;	size:8;	signed:0',
      'char comm[16];	offset:16;	size:16;	signed:0',
      '__data_loc char[] name;	offset:32;	size:4;	signed:0',
      '__rel_loc char[] other;	offset:36;	size:4;	signed:0',
      'struct page * page;	offset:40;	size:8;	signed:0',
      'const char * const text;	offset:48;	size:8;	signed:0',
      'bool write;	offset:56;	size:1;	signed:0',
      '__data_loc cpumask_t mask;	offset:60;	size:4;	signed:0',
    ]);
    expect(parsed).toMatchObject({ system: 'kvm', name: 'kvm_thing', id: 77, printFmt: '"x"' });
    expect(parsed.commonFields.map((field) => field.name)).toEqual([
      'common_type',
      'common_flags',
      'common_preempt_count',
      'common_pid',
    ]);
    expect(parsed.fields.map((f) => [f.name, f.cType, f.offset, f.size, f.isDynamic, f.isString])).toEqual([
      ['gpa', 'u64', 8, 8, null, false],
      ['comm', 'char[16]', 16, 16, null, true],
      ['name', '__data_loc char[]', 32, 4, 'data_loc', true],
      ['other', '__rel_loc char[]', 36, 4, 'rel_loc', true],
      ['page', 'struct page *', 40, 8, null, false],
      ['text', 'const char * const', 48, 8, null, false],
      ['write', 'bool', 56, 1, null, false],
      ['mask', '__data_loc cpumask_t', 60, 4, 'data_loc', false],
    ]);
    expect(columns(parsed)).toEqual([
      'gpa u64',
      'comm string',
      'name string',
      'other string',
      'page u64',
      'text u64',
      'write bool',
      'mask string',
    ]);
  });

  it('makes a column of each number of a short array, text of a long one', () => {
    const parsed = format('x', 'arrays', [
      'unsigned long args[6];	offset:8;	size:48;	signed:0',
      '__u8 insn[15];	offset:56;	size:15;	signed:0',
      'int two[N_OF_THEM];	offset:72;	size:8;	signed:1',
      'u32 buf[];	offset:80;	size:0;	signed:0',
    ]);
    expect(columns(parsed)).toEqual([
      ...[0, 1, 2, 3, 4, 5].map((k) => `args_${k} u64`),
      'insn string',
      'two_0 i32',
      'two_1 i32',
      'buf string',
    ]);
    expect(planFields(parsed).map((plan) => plan.offset)).toEqual([8, 16, 24, 32, 40, 48, 56, 72, 76, 80]);
  });

  it('cuts arguments of system calls to their C type', () => {
    const parsed = format('syscalls', 'sys_enter_openat', [
      'int __syscall_nr;	offset:8;	size:4;	signed:1',
      'int dfd;	offset:16;	size:8;	signed:0',
      'const char * filename;	offset:24;	size:8;	signed:0',
      'unsigned int flags;	offset:32;	size:8;	signed:0',
      'umode_t mode;	offset:40;	size:8;	signed:0',
      'loff_t offset;	offset:48;	size:8;	signed:0',
      'size_t len;	offset:56;	size:8;	signed:0',
    ]);
    expect(columns(parsed)).toEqual([
      '__syscall_nr i32',
      'dfd i32',
      'filename u64',
      'flags u32',
      'mode u16',
      'offset i64',
      'len u64',
    ]);
  });

  it('is refused without name, id or with a line that is no field', () => {
    expect(parseEventFormat('x', 'ID: 3\nformat:\n')).toBeNull();
    expect(parseEventFormat('x', `name: a\nID: 70000\nformat:\n${COMMON}`)).toBeNull();
    expect(parseEventFormat('x', `name: a\nID: 7\nformat:\n${COMMON}\n\tfield:int a; offset:x; size:4;\n`)).toBeNull();
    expect(parseEventFormat('x', '')).toBeNull();
  });
});

interface Decoded {
  readonly values: Record<string, unknown>;
  readonly tid: number;
  readonly flags: number;
  readonly skipped: readonly string[];
}

/** Decodes one record: common fields (id 77, flags 1, preempt count 2, pid −5) and `body` from offset 8 on. */
function decodeOne(parsed: EventFormat, body: (view: DataView) => number, bigEndian = false): Decoded {
  const bytes = new Uint8Array(128);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, 77, !bigEndian);
  bytes[2] = 1;
  bytes[3] = 2;
  view.setInt32(4, -5, !bigEndian);
  const length = body(view);
  const strings = new StringTable();
  const decoder = makeRecordDecoder({ formats: [parsed], bigEndian, strings });
  decoder.push(bytes, 0, length, 1, 0, 3, 0, 0);
  const batch = decoder.flush()[0]!;
  const values = batch.columns.map((column, k) => {
    const raw = column.data[0]!;
    const value = column.valid?.[0] === 0 ? null : column.type === 'string' ? strings.values[Number(raw)] : raw;
    return [batch.schema.fields[k]!.name, value];
  });
  return {
    values: Object.fromEntries(values) as Record<string, unknown>,
    tid: batch.tid[0]!,
    flags: batch.flags[0]!,
    skipped: decoder.skipped().map((skip) => skip.reason),
  };
}

describe('a record', () => {
  const numbers = format('x', 'numbers', [
    's8 a;	offset:8;	size:1;	signed:1',
    'u16 b;	offset:10;	size:2;	signed:0',
    's64 c;	offset:16;	size:8;	signed:1',
    'bool d;	offset:24;	size:1;	signed:0',
    'u32 e;	offset:28;	size:4;	signed:0',
  ]);

  it.each([false, true])('gives numbers of every width, big endian %s', (bigEndian) => {
    const decoded = decodeOne(
      numbers,
      (view) => {
        view.setInt8(8, -3);
        view.setUint16(10, 0xfffe, !bigEndian);
        view.setBigInt64(16, -(2n ** 40n) - 7n, !bigEndian);
        view.setUint8(24, 2);
        view.setUint32(28, 0xdeadbeef, !bigEndian);
        return 32;
      },
      bigEndian,
    );
    expect(decoded).toEqual({
      values: { a: -3, b: 0xfffe, c: -(2n ** 40n) - 7n, d: 1, e: 0xdeadbeef },
      tid: -5,
      flags: 0x0201,
      skipped: [],
    });
  });

  it('that is too short gives null for what is missing and is counted', () => {
    const decoded = decodeOne(numbers, (view) => {
      view.setInt8(8, 9);
      return 24;
    });
    expect(decoded.values).toEqual({ a: 9, b: 0, c: 0n, d: null, e: null });
    expect(decoded.skipped).toEqual(['record of x:numbers is shorter than its format']);
  });

  it('gives texts: fixed, located, relative, clipped, empty', () => {
    const parsed = format('x', 'texts', [
      'char comm[4];	offset:8;	size:4;	signed:0',
      '__data_loc char[] a;	offset:12;	size:4;	signed:0',
      '__rel_loc char[] b;	offset:16;	size:4;	signed:0',
      '__data_loc char[] c;	offset:20;	size:4;	signed:0',
      '__data_loc u16[] d;	offset:24;	size:4;	signed:0',
    ]);
    const decoded = decodeOne(parsed, (view) => {
      new Uint8Array(view.buffer).set(new TextEncoder().encode('abcdHello\0wörld\0'), 28);
      view.setUint32(8, 0x64636261, true);
      view.setUint32(12, (6 << 16) | 32, true);
      view.setUint32(16, (100 << 16) | (38 - 20), true);
      view.setUint32(20, 9999, true);
      view.setUint32(24, (4 << 16) | 28, true);
      return 45;
    });
    expect(decoded.values).toEqual({ comm: 'abcd', a: 'Hello', b: 'wörld', c: '', d: 'ARRAY[6261, 6463]' });
  });

  it('masks a syscall argument that user space left with a dirty upper half', () => {
    const parsed = format('syscalls', 'sys_enter_openat', ['int dfd;	offset:8;	size:8;	signed:0']);
    for (const bigEndian of [false, true]) {
      const dfd = (word: bigint): unknown =>
        decodeOne(parsed, (view) => (view.setBigUint64(8, word, !bigEndian), 16), bigEndian).values['dfd'];
      expect([dfd(0xffffff9cn), dfd(0xffffffffffffff9cn)]).toEqual([-100, -100]);
    }
  });

  it('of an event without a format is counted', () => {
    const decoder = makeRecordDecoder({ formats: [numbers], bigEndian: false, strings: new StringTable() });
    decoder.push(new Uint8Array([9, 0, 0, 0]), 0, 4, 0, 0, 1, 64, 0);
    decoder.push(new Uint8Array([9]), 0, 1, 0, 0, 1, 72, 0);
    expect(decoder.skipped()).toEqual([
      { reason: 'event id 9 has no format', count: 1, first: 'cpu 1 byte 64' },
      { reason: 'record too short for an event id', count: 1, first: 'cpu 1 byte 72' },
    ]);
  });
});

describe('kallsyms', () => {
  const text = [
    'ffffffff81000000 T _text',
    'ffffffff81000100 t kvm_gmem_fault.part.0',
    'ffffffff81000100 d some_data',
    'ffffffff81000200 T next',
    'ffffffffc0000010 t in_module\t[kvm]',
    'broken line',
  ].join('\n');
  const kallsyms = makeKallsyms(new TextEncoder().encode(text));
  const nameOf = (address: bigint): string | null =>
    kallsyms.nameOf(Number(address & 0xffffffffn), Number(address >> 32n));

  it('name the function that an address is in, without suffix', () => {
    expect(nameOf(0xffffffff81000104n)).toBe('kvm_gmem_fault');
    expect(nameOf(0xffffffff81000200n)).toBe('next');
    expect(nameOf(0xffffffffc0000010n)).toBe('in_module');
  });

  it('do not guess where the table has a hole', () => {
    expect(nameOf(0xffffffff82000000n)).toBeNull();
    expect(nameOf(0x401000n)).toBeNull();
    expect(nameOf(0n)).toBeNull();
  });
});
