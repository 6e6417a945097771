import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import type { ColumnType, FieldSpec } from '../../src/parse/model.js';
import { compilePrintFmt, renderFields, type FieldGetter } from '../../src/parse/print-fmt/index.js';

const FORMATS = new URL('../../../shared/reference/formats/', import.meta.url);
const BASIC_FORMATS = new URL('../../../shared/captures/x86-basic/formats.txt.gz', import.meta.url);

const field = (name: string, type: ColumnType, cType = '', radix: 10 | 16 = 10): FieldSpec => ({
  name,
  type,
  cType,
  radix,
});

/** Renders one event whose fields are given as name → value, typed u64 unless said otherwise. */
function render(fmt: string, values: Record<string, bigint | string | null>, types: Record<string, ColumnType> = {}) {
  const fields = Object.entries(values).map(([name, value]) =>
    field(name, types[name] ?? (typeof value === 'string' ? 'string' : 'u64')),
  );
  return compilePrintFmt(fmt, fields).render((name) => values[name] ?? null);
}

/** Fields of a format file, arrays as texts: enough to compile its print fmt. */
function fieldsOf(format: string): FieldSpec[] {
  const fields: FieldSpec[] = [];
  for (const line of format.split('\n')) {
    const parts = /^\tfield:(.*?);\s*offset:\d+;\s*size:(\d+);(?:\s*signed:(\d))?/.exec(line);
    if (!parts) continue;
    const [, declaration, size, signed] = parts;
    const array = /\[[^\]]*\]$/.exec(declaration!)?.[0] ?? '';
    const [, cType, name] = /^(.*?)\s*(\w+)$/.exec(declaration!.slice(0, declaration!.length - array.length))!;
    const bits = Number(size) * 8 || 64;
    const isText = array !== '' || cType!.includes('[') || ![8, 16, 32, 64].includes(bits);
    const type = isText ? 'string' : (`${signed === '1' ? 'i' : 'u'}${bits}` as ColumnType);
    fields.push(field(name!, type, cType! + array));
  }
  return fields;
}

function* formatFiles(folder: URL): Generator<[string, string]> {
  for (const name of readdirSync(folder)) {
    const path = new URL(name, folder);
    if (statSync(path).isDirectory()) yield* formatFiles(new URL(`${name}/`, folder));
    else if (name === 'format') yield [path.pathname.split('/').slice(-4, -1).join('/'), readFileSync(path, 'utf8')];
  }
}

describe('conversions', () => {
  it.each([
    [
      '"%#016llx -- %#016llx [0x%lx]", REC->a, REC->b, REC->c',
      { a: 0n, b: 0x100200n, c: 8n },
      '0x00000000000000 -- 0x00000000100200 [0x8]',
    ],
    ['"%d %u", REC->a, REC->a', { a: 0xfffffffcn }, '-4 4294967292'],
    ['"%lx %x", REC->a, REC->a', { a: 0xffff_ffff_ffff_ff9cn }, 'ffffffffffffff9c ffffff9c'],
    ['"%5d|%-5d|%05d|%+d", REC->a, REC->a, REC->a, REC->a', { a: 42n }, '   42|42   |00042|+42'],
    ['"%c%c %%", 65, REC->a', { a: 66n }, 'AB %'],
    ['"%s %10s|%-6s|%.2s", REC->s, REC->s, REC->s, REC->s', { s: 'npf' }, 'npf        npf|npf   |np'],
    ['"%Lu %zu %hd %hhx", REC->a, REC->a, REC->a, REC->a', { a: 0x1ffffn }, '131071 131071 -1 ff'],
    ['"%*d", 6, REC->a', { a: 7n }, '     7'],
    [
      '"p=%p s=%ps", (void *)REC->a, (void *)REC->a',
      { a: 0xffff888108156000n },
      'p=0xffff888108156000 s=0xffff888108156000',
    ],
    ['"%*ph|%pM", 3, REC->m, REC->m', { m: 'ARRAY[00, 1b, 21, 3c, 9d, f8]' }, '00 1b 21|00:1b:21:3c:9d:f8'],
  ])('%s', (fmt, values, expected) => {
    expect(render(fmt, values)).toBe(expected);
  });
});

describe('expressions', () => {
  it('extends the sign of a narrow field, as the kernel does and its peers do not', () => {
    const fmt =
      '"reason %s (%d)", REC->errno < 0 ? (REC->errno == -4 ? "restart" : "error") : __print_symbolic(REC->reason, { 0, "KVM_EXIT_" "UNKNOWN" }, { 2, "KVM_EXIT_IO" }), REC->errno < 0 ? -REC->errno : REC->reason';
    const types = { errno: 'i32', reason: 'u32' } as const;
    expect(render(fmt, { errno: -4n, reason: 0n }, types)).toBe('reason restart (4)');
    expect(render(fmt, { errno: -14n, reason: 39n }, types)).toBe('reason error (14)');
    expect(render(fmt, { errno: 0n, reason: 2n }, types)).toBe('reason KVM_EXIT_IO (2)');
    expect(render(fmt, { errno: 0n, reason: 39n }, types)).toBe('reason 0x27 (39)');
  });

  it.each([
    ['"%d", 1 + 2 * 3 - 8 / 2', '3'],
    ['"%d", (1 << 0) | (1 << 3)', '9'],
    ['"%llx", ~0ULL >> 4', 'fffffffffffffff'],
    ['"%lx", ((((1UL))) << (63)) + ((((1UL))) << (63))', '0'],
    ['"%d", -1 < 1U', '0'],
    ['"%d", (u8)300 == 44 && !0', '1'],
    ['"%d", sizeof(unsigned long) + sizeof(u16)', '10'],
    ['"%d", \'A\' == 0x41 ? 1 : 2', '1'],
    ['"%d", 0 ?: 7', '7'],
    ['"%d", 5 % 0', '0'],
    ['"%lld", (s64)(s32)0xffffffff', '-1'],
    ['"%u", be32_to_cpu(0x01000000)', '1'],
    ['"%s", IS_ERR((void *)-12L) ? "error" : "fine"', 'error'],
  ])('%s → %s', (fmt, expected) => {
    expect(render(fmt, {})).toBe(expected);
  });

  it('reads array elements from their columns', () => {
    const fields = [0, 1, 2].map((k) => field(`args_${k}`, 'u64', 'unsigned long[3]'));
    const get: FieldGetter = (name) => BigInt(name.slice(-1)) + 10n;
    const fmt = compilePrintFmt('"(%lx, %lx) %s", REC->args[0], REC->args[2], __print_array(REC->args, 2, 8)', fields);
    expect(fmt.render(get)).toBe('(a, c) {0xa,0xb}');
    expect(fmt.renderRaw(get)).toBe('args=ARRAY[0a, 0b, 0c]');
  });

  it('reads array elements from a text', () => {
    const fields = [field('insn', 'string', '__u8[15]'), field('len', 'u8', '__u8')];
    const values: Record<string, bigint | string> = { insn: 'ARRAY[0f, 01, d9, 48]', len: 3n };
    const fmt = compilePrintFmt(
      '"%s %s %d", __print_hex(REC->insn, REC->len), __print_hex_str(REC->insn, 2), REC->insn[2]',
      fields,
    );
    expect(fmt.render((name) => values[name] ?? null)).toBe('0f 01 d9 0f01 217');
  });
});

describe('flags and symbols', () => {
  const flags = '"%s", __print_flags(REC->f, "|", {0x3, "BOTH"}, {0x1, "A"}, {0x2, "B"}, {0x8, "D"})';
  it.each([
    [3n, 'BOTH'],
    [2n, 'B'],
    [9n, 'A|D'],
    [0x1bn, 'BOTH|D|0x10'],
    [0n, ''],
  ])('flags %s → %s', (f, expected) => {
    expect(render(flags, { f })).toBe(expected);
  });

  it('prints what an unresolved enum would name as a number, and says so', () => {
    const fmt = compilePrintFmt('"%s", __print_flags(REC->f, "|", { (1UL << (SOME_ENUM)), "SOME" })', [
      field('f', 'u64'),
    ]);
    expect(fmt.render(() => 1n)).toBe('0x1');
    expect(fmt.isRaw).toBe(false);
    expect(fmt.unevaluable).toEqual(['"SOME_ENUM" has no known value']);
  });
});

describe('what cannot be evaluated', () => {
  it('leaves out the address of a struct page, of which the trace has only the pfn', () => {
    const fmt = '"page=%p pfn=0x%lx order=%d", (((struct page *)vmemmap_base) + (REC->pfn)), REC->pfn, REC->order';
    expect(render(fmt, { pfn: 0x14c132n, order: 0n })).toBe('pfn=0x14c132 order=0');
  });

  it('shows all fields of an event with an unknown function, with the conversions that are known', () => {
    const fields = [field('gfn', 'u64', 'u64'), field('level', 'u8', 'u8')];
    const fmt = compilePrintFmt('"%s gfn 0x%llx", mystery(REC->level), REC->gfn', fields);
    expect(fmt.render((name) => (name === 'gfn' ? 255n : 2n))).toBe('gfn=0xff level=2');
    expect(fmt.isRaw).toBe(true);
    expect(fmt.unevaluable).toEqual(['function mystery() is not known']);
  });

  it.each([
    '',
    '%d',
    '"%d" REC->a',
    '"%d", (((',
    '"%s", ({ goto out; })',
    `"%d", ${'('.repeat(5000)}1`,
    '"%s %s", REC->a',
    '"%d", REC->a ? 1',
  ])('a broken print fmt shows the fields: %s', (source) => {
    const fmt = compilePrintFmt(source, [field('a', 'u32')]);
    expect(fmt.render(() => 5n)).toBe('a=5');
    expect(fmt.unevaluable).toHaveLength(1);
  });

  it('prints ? for a value that the event does not have, and a word that a text trace gave', () => {
    const fmt = compilePrintFmt('"a 0x%x b %s", REC->a, __print_symbolic(REC->a, {1, "one"})', [field('a', 'u32')]);
    expect(fmt.render(() => null)).toBe('a 0x? b ?');
    expect(fmt.render(() => 'npf')).toBe('a 0xnpf b npf');
  });

  it('prints fields of an event without print fmt by the radix of the trace', () => {
    const print = renderFields([field('gfn', 'u64', '', 16), field('ret', 'i32'), field('comm', 'string', 'char[16]')]);
    const values: Record<string, bigint | string> = { gfn: 0x100n, ret: -11n, comm: 'CPU 0/KVM' };
    expect(print((name) => values[name] ?? null)).toBe('gfn=0x100 ret=-11 comm=CPU 0/KVM');
  });
});

describe('kvmmmu page role', () => {
  const kernelText = (access: string) =>
    `"%s %s", ({ const char *saved_ptr = trace_seq_buffer_ptr(p); static const char *access_str[] = { ${access} }; union kvm_mmu_page_role role; role.word = REC->role; trace_seq_printf(p, "sp gen %u gfn %llx l%u %u-byte q%u%s %s%s" " %snxe %sad root %u %s%c", REC->mmu_valid_gen, REC->gfn, role.level, role.has_4_byte_gpte ? 4 : 8, role.quadrant, role.direct ? " direct" : "", access_str[role.access], role.invalid ? " invalid" : "", role.efer_nx ? "" : "!", role.ad_disabled ? "!" : "", REC->root_count, REC->unsync ? "unsync" : "sync", 0); saved_ptr; }), REC->created ? "new" : "existing"`;
  const base = { mmu_valid_gen: 0n, gfn: 0n, root_count: 0n, unsync: 0n, created: 1n };

  it('reads the layout of three access bits (up to 6.18)', () => {
    const fmt = kernelText('"---", "--x", "w--", "w-x", "-u-", "-ux", "wu-", "wux"');
    expect(render(fmt, { ...base, role: 6018n })).toBe('sp gen 0 gfn 0 l2 8-byte q0 direct wux nxe ad root 0 sync new');
  });

  it('reads the layout of four access bits (7.2 and later)', () => {
    const fmt = kernelText(
      '"----", "r---", "-w--", "rw--", "--u-", "r-u-", "-wu-", "rwu-", "---x", "r--x", "-w-x", "rw-x", "--ux", "r-ux", "-wux", "rwux"',
    );
    expect(render(fmt, { ...base, role: 28548n })).toBe(
      'sp gen 0 gfn 0 l4 8-byte q0 direct rwux nxe ad root 0 sync new',
    );
  });
});

describe.skipIf(!existsSync(FORMATS))('every collected kernel', () => {
  it('compiles each print fmt, and names the few that it cannot evaluate', () => {
    const raw = new Map<string, readonly string[]>();
    let count = 0;
    for (const [name, text] of formatFiles(FORMATS)) {
      const source = /^print fmt: (.*)/ms.exec(text)?.[1]?.trimEnd();
      if (source === undefined) continue;
      count++;
      const fmt = compilePrintFmt(source, fieldsOf(text));
      if (fmt.isRaw) raw.set(name, fmt.unevaluable);
      for (const get of [() => 1n, () => null, () => 'x'] as const) {
        expect(fmt.render(get), name).toBeTypeOf('string');
        expect(fmt.renderRaw(get), name).toBeTypeOf('string');
      }
    }
    expect(count).toBeGreaterThan(1000);
    expect(Object.fromEntries(raw)).toEqual({});
  });
});

describe.skipIf(!existsSync(BASIC_FORMATS))('kvm_exit of the x86 capture', () => {
  it('prints the line of the kernel’s own trace', () => {
    const all = gunzipSync(readFileSync(BASIC_FORMATS)).toString();
    const text = all.split('==== kvm__kvm_exit.format')[1]!.split('====')[0]!;
    const fmt = compilePrintFmt(/^print fmt: (.*)/m.exec(text)![1]!, fieldsOf(text));
    const values: Record<string, bigint> = {
      vcpu_id: 1n,
      exit_reason: 1024n,
      guest_rip: 0x10000n,
      isa: 2n,
      info1: 0x200000006n,
      info2: 0x1000n,
    };
    expect(fmt.render((name) => values[name] ?? 0n)).toBe(
      'vcpu 1 reason npf rip 0x10000 info1 0x0000000200000006 info2 0x0000000000001000 intr_info 0x00000000 error_code 0x00000000 requests 0x0000000000000000',
    );
    expect(fmt.unevaluable).toEqual([]);
  });
});
