import { describe, expect, it } from 'vitest';
import { readText, reportLine, traceLine } from './read-text.js';
import type { Value } from './read-text.js';

async function valuesOf(text: string): Promise<Readonly<Record<string, Value>>> {
  const { rows } = await readText(text);
  expect(rows).toHaveLength(1);
  return rows[0]!.values;
}

describe('the kernel’s own text', () => {
  it('kvm_exit of both ISAs, with flags and unknown reasons', async () => {
    const tail =
      'rip 0xfff0 info1 0x0000000000000181 info2 0x0 intr_info 0x00000000 error_code 0x00000000 requests 0x4';
    const exit = (reason: string) => valuesOf(traceLine(`kvm_exit: vcpu 3 reason ${reason} ${tail}`));
    expect(await exit('EPT_VIOLATION')).toMatchObject({
      exit_reason: 48,
      isa: 1,
      vcpu_id: 3,
      info1: 0x181n,
      requests: 4n,
    });
    expect(await exit('npf')).toMatchObject({ exit_reason: 0x400, isa: 2 });
    expect(await exit('vmgexit')).toMatchObject({ exit_reason: 0x403, isa: 2 });
    expect(await exit('INVALID_STATE FAILED_VMENTRY')).toMatchObject({ exit_reason: 0x80000021, isa: 1 });
    expect(await exit('0xdead')).toMatchObject({ exit_reason: 0xdead, isa: null });
  });

  it('kvm_entry with and without an immediate exit', async () => {
    const text = 'kvm_entry: vcpu 1, rip 0x1005d intr_info 0x80000b0e error_code 0x00000007';
    expect(await valuesOf(traceLine(text))).toEqual({
      vcpu_id: 1,
      rip: 0x1005dn,
      immediate_exit: 0,
      intr_info: 0x80000b0e,
      error_code: 7,
    });
    expect(await valuesOf(traceLine(`${text}[immediate exit]`))).toMatchObject({ immediate_exit: 1 });
  });

  it('kvm_entry and kvm_exit of older kernels', async () => {
    expect(await valuesOf(traceLine('kvm_entry: vcpu 1, rip 0x1005d'))).toMatchObject({ vcpu_id: 1, rip: 0x1005dn });
    expect(await valuesOf(traceLine('kvm_exit: vcpu 0 reason npf rip 0xfff0 info 14 fd11d'))).toMatchObject({
      vcpu_id: 0,
      exit_reason: 0x400,
      info1: 0x14n,
      info2: 0xfd11dn,
      requests: null,
    });
  });

  it('kvm_userspace_exit: an errno hides the reason', async () => {
    const exit = (text: string) => valuesOf(traceLine(`kvm_userspace_exit: reason ${text}`));
    expect(await exit('error (14)')).toEqual({ reason: null, errno: -14 });
    expect(await exit('restart (4)')).toEqual({ reason: null, errno: -4 });
    expect(await exit('KVM_EXIT_HYPERCALL (3)')).toEqual({ reason: 3, errno: 0 });
    expect(await exit('0x2c (44)')).toEqual({ reason: 44, errno: 0 });
  });

  it('mm_filemap: inode in hex without 0x, device in two parts, bytes back to an index', async () => {
    const text = 'mm_filemap_add_to_page_cache: dev 8:17 ino 850 pfn=0x107dbe ofs=3072000 order=0';
    expect(await valuesOf(traceLine(text))).toEqual({
      i_ino: 0x850n,
      pfn: 0x107dben,
      index: 750n,
      s_dev: (8 << 20) | 17,
      order: 0,
    });
  });

  it('system calls, whose errors are 64-bit hex', async () => {
    const { rows } = await readText(
      traceLine('sys_ioctl(fd: 0xb, cmd: 0x4020aed2, arg: 0x7ffd1c2e5a30)').replace(': sys', ': sys') +
        traceLine('sys_ioctl -> 0xfffffffffffffff2') +
        traceLine('sys_fallocate(fd: 6, mode: 3, offset: 0x2ee000, len: 0x5000)') +
        traceLine('sys_openat(dfd: 0xffffff9c, filename: 0x95ecee0, flags: 0x100, mode: 0)'),
    );
    expect(rows.map((row) => [row.event, row.values])).toEqual([
      ['syscalls:sys_enter_ioctl', { __syscall_nr: null, fd: 11, cmd: 0x4020aed2, arg: 0x7ffd1c2e5a30n }],
      ['syscalls:sys_exit_ioctl', { __syscall_nr: null, ret: -14n }],
      ['syscalls:sys_enter_fallocate', { __syscall_nr: null, fd: 6, mode: 3, offset: 0x2ee000n, len: 0x5000n }],
      [
        'syscalls:sys_enter_openat',
        { __syscall_nr: null, dfd: 0xffffff9cn, filename: 0x95ecee0n, flags: 0x100n, mode: 0n },
      ],
    ]);
  });

  it('sched_switch with blanks and brackets in names', async () => {
    const text =
      'sched_switch: prev_comm=CPU 0/KVM prev_pid=99 prev_prio=120 prev_state=R+ ==> next_comm=a [b] c next_pid=7 next_prio=98';
    expect(await valuesOf(traceLine(text))).toEqual({
      prev_comm: 'CPU 0/KVM',
      prev_pid: 99,
      prev_prio: 120,
      prev_state: 256n,
      next_comm: 'a [b] c',
      next_pid: 7,
      next_prio: 98,
    });
  });

  it('page_ref: flag names, signs, hashed pointers', async () => {
    const text =
      'page_ref_mod_and_test: pfn=0x105f6a flags=uptodate|dirty|lru count=3 mapcount=-1 mapping=00000000be275cc9 mt=0 val=-1024 ret=0';
    expect(await valuesOf(traceLine(text))).toEqual({
      pfn: 0x105f6an,
      flags: 0x38n,
      count: 3,
      mapcount: -1,
      mapping: 0xbe275cc9n,
      mt: 0,
      val: -1024,
      ret: 0,
    });
  });

  it('iommu map and unmap', async () => {
    const { rows } = await readText(
      traceLine('map: IOMMU: iova=0x0000000100014000 - 0x0000000100015000 paddr=0x0000000108846000 size=4096') +
        traceLine('unmap: IOMMU: iova=0x0000000100014000 - 0x0000000100016000 size=8192 unmapped_size=4096'),
    );
    expect(rows.map((row) => [row.event, row.values])).toEqual([
      ['iommu:map', { iova: 0x100014000n, paddr: 0x108846000n, size: 4096n }],
      ['iommu:unmap', { iova: 0x100014000n, size: 8192n, unmapped_size: 4096n }],
    ]);
  });

  it('a zero range, with and without 0x', async () => {
    expect(await valuesOf(traceLine('kvm_vm_set_mem_attributes: 0x00000000000000 -- 0x00000000100200 [0x8]'))).toEqual({
      start: 0n,
      end: 0x100200n,
      attr: 8n,
    });
    expect(await valuesOf(traceLine('kvm_vm_set_mem_attributes: 0000000000000000 -- 0x00000000100200 [0x0]'))).toEqual({
      start: 0n,
      end: 0x100200n,
      attr: 0n,
    });
  });

  it('options/fields', async () => {
    const text =
      'kvm_page_fault: vcpu_id=0x1 (1) guest_rip=0x1005d (65629) fault_address=0x172000 (1515520) error_code=0x100000006 (4294967302)';
    expect(await valuesOf(traceLine(text))).toEqual({
      vcpu_id: 1,
      guest_rip: 0x1005dn,
      fault_address: 0x172000n,
      error_code: 0x100000006n,
    });
  });

  it('a known event whose text is not understood still happened', async () => {
    const { rows, summary } = await readText(
      traceLine('kvm_page_fault: vcpu 1 rip 0x10 address 0x20 error_code 0x4') +
        traceLine('kvm_page_fault: rip is missing'),
    );
    expect(rows[1]).toMatchObject({ event: 'kvm:kvm_page_fault', values: { vcpu_id: null, guest_rip: null } });
    expect(summary.skipped).toEqual([
      { reason: 'text of kvm:kvm_page_fault that is not understood', count: 1, first: 'line 2' },
    ]);
  });
});

describe('texts of libtraceevent and its plugins', () => {
  const report = (name: string, text: string) => valuesOf(`cpus=2\n${reportLine(name, text)}`);

  it('kvm_exit and kvm_entry of the kvm plugin leave fields out', async () => {
    expect(await report('kvm_exit', 'reason EXIT_NPF rip 0x10000 info 200000006 1000')).toEqual({
      exit_reason: 0x400,
      guest_rip: 0x10000n,
      isa: 2,
      info1: 0x200000006n,
      info2: 0x1000n,
      intr_info: null,
      error_code: null,
      vcpu_id: null,
      requests: null,
    });
    expect(await report('kvm_exit', 'reason UNKNOWN (131072) rip 0x0 info 0 0')).toMatchObject({
      exit_reason: 131072,
      isa: null,
    });
    expect(await report('kvm_entry', ' vcpu 1 rip 0x10000')).toMatchObject({
      vcpu_id: 1,
      rip: 0x10000n,
      intr_info: null,
    });
  });

  it('kvm_userspace_exit: the reason hides the errno where the run may have failed', async () => {
    expect(await report('kvm_userspace_exit', '  reason 0x27 (39)')).toEqual({ reason: 39, errno: null });
    expect(await report('kvm_userspace_exit', '  reason KVM_EXIT_HYPERCALL (3)')).toEqual({ reason: 3, errno: 0 });
    // an interrupted run: the kernel says restart (4)
    expect(await report('kvm_userspace_exit', '  reason KVM_EXIT_INTR (10)')).toEqual({ reason: 10, errno: null });
  });

  it('sched events of the sched plugin, colons in names', async () => {
    expect(await report('sched_switch', 'CPU 0/KVM:99 [120] S ==> kworker/u9:2:33 [98]')).toEqual({
      prev_comm: 'CPU 0/KVM',
      prev_pid: 99,
      prev_prio: 120,
      prev_state: 1n,
      next_comm: 'kworker/u9:2',
      next_pid: 33,
      next_prio: 98,
    });
    expect(await report('sched_switch', 'a:1 [120] R ==> b:2 [120]')).toMatchObject({ prev_state: null });
    expect(await report('sched_wakeup', 'gmemvm:97 [120] CPU:001')).toMatchObject({
      comm: 'gmemvm',
      pid: 97,
      target_cpu: 1,
    });
  });

  it('complaints of the x86 plugin about arm64 events', async () => {
    const text = '<CANT FIND FIELD exit_reason>TRAP: HSR_EC: 0x0024 (DABT_LOW), PC: 0x000000008000009c';
    expect(await report('kvm_exit', text)).toEqual({ ret: 2, esr_ec: 0x24, vcpu_pc: 0x8000009cn });
    expect(await report('kvm_entry', 'CAN\'T FIND FIELD "vcpu_id"<CANT FIND FIELD rip>PC: 0x0000000080000000')).toEqual(
      {
        vcpu_pc: 0x80000000n,
      },
    );
  });

  it('kvm_mmu_get_page of the plugin and of kernels', async () => {
    const plugin = 'new sp gfn 1f 2 q0 direct wux !pae nxe !wp root 0 sync\0';
    expect(await report('kvm_mmu_get_page', plugin)).toMatchObject({ gfn: 0x1fn, created: 1, unsync: 0, role: null });
    const kernel = 'kvm_mmu_get_page: sp gen 3 gfn 1f l4 8-byte q0 direct rwux nxe ad root 5 unsync existing';
    expect(await valuesOf(traceLine(kernel))).toEqual({
      mmu_valid_gen: 3,
      gfn: 0x1fn,
      role: null,
      root_count: 5,
      unsync: 1,
      created: 0,
    });
  });

  it('-R prints hex without 0x where the print fmt does', async () => {
    expect(await report('kvm_mmu_spte_requested', 'gfn=100000 pfn=10a801 level=2 access=f')).toEqual({
      gfn: 0x100000n,
      pfn: 0x10a801n,
      level: 2,
      access: 15,
    });
    expect(await report('mm_filemap_add_to_page_cache', 'i_ino=850 pfn=0x107dbe index=0x2ee s_dev=15 order=0')).toEqual(
      {
        i_ino: 0x850n,
        pfn: 0x107dben,
        index: 750n,
        s_dev: 15,
        order: 0,
      },
    );
  });

  it('[FAILED TO PARSE] has raw fields behind it', async () => {
    const text = '[FAILED TO PARSE] mmu_valid_gen=0 gfn=5 role=6018 root_count=0 unsync=0 created=1';
    expect(await report('kvm_mmu_get_page', text)).toMatchObject({ gfn: 5n, role: 6018, created: 1 });
  });
});

describe('events that no catalogue knows', () => {
  it('probes keep their fetch arguments; a fault is NULL', async () => {
    const { rows, schemas } = await readText(
      traceLine('mine: (kvm_vm_ioctl.isra.0+0x0/0x10 [kvm]) a0=0xffff888108156000 n=-5 name="a b" bad=(fault)') +
        traceLine('mine: (kvm_vm_ioctl.isra.0+0x0/0x10 [kvm]) a0=0x0 n=7 name="" bad=0x5'),
    );
    const schema = schemas.get('probe:mine')!;
    expect(schema.probe).toEqual({ fn: 'kvm_vm_ioctl', isReturn: false });
    expect(schema.fields.map((field) => [field.name, field.type, field.radix])).toEqual([
      ['__probe_ip', 'u64', 16],
      ['a0', 'u64', 16],
      ['n', 'i64', 10],
      ['name', 'string', 10],
      ['bad', 'u64', 16],
    ]);
    expect(rows.map((row) => row.values)).toEqual([
      { __probe_ip: null, a0: 0xffff888108156000n, n: -5n, name: 'a b', bad: null },
      { __probe_ip: null, a0: 0n, n: 7n, name: '', bad: 5n },
    ]);
  });

  it('probes by address take their function from the definitions beside the trace', async () => {
    const probes = new Map([['mine', { fn: 'kvm_vm_ioctl', isReturn: true }]]);
    const { rows, schemas } = await readText(
      `cpus=1\n${reportLine('mine', '(ffffffff810336eb <- ffffffff8106a810) ret=0')}`,
      {
        probes,
      },
    );
    expect(schemas.get('probe:mine')!.probe).toEqual({ fn: 'kvm_vm_ioctl', isReturn: true });
    expect(rows[0]!.values).toEqual({
      __probe_func: 0xffffffff810336ebn,
      __probe_ret_ip: 0xffffffff8106a810n,
      ret: 0n,
    });
  });

  it('other events keep pairs, and the rest as text', async () => {
    const { rows } = await readText(
      traceLine('softirq_thing: vec=9 [act=RCU]') + traceLine('rcu_thing: Start context switch'),
    );
    expect(rows.map((row) => [row.event, row.values])).toEqual([
      ['unknown:softirq_thing', { vec: 9n, text: '[act=RCU]' }],
      ['unknown:rcu_thing', { text: 'Start context switch' }],
    ]);
  });

  it('later lines with other columns are counted', async () => {
    const first = traceLine('odd: a=1').repeat(512);
    const { rows, summary } = await readText(first + traceLine('odd: a=1 b=2') + traceLine('odd: a=x'));
    expect(rows).toHaveLength(514);
    expect(rows[513]!.values).toEqual({ a: null });
    expect(summary.skipped).toEqual([
      { reason: 'field of odd that its first 512 lines do not have', count: 1, first: 'line 513' },
      { reason: 'text in a field of odd that had numbers before', count: 1, first: 'line 514' },
    ]);
  });

  it('trace_marker text stays as it is, also over several lines', async () => {
    const { rows, summary } = await readText(
      traceLine('tracing_mark_write: kvm_convert_memory start 0x1000 size 0x1000 shared_to_private') +
        traceLine('tracing_mark_write: hello: [001] d..1. 12.345678: fake_event: x=1') +
        'second line\n',
    );
    expect(rows.map((row) => [row.event, row.values])).toEqual([
      ['ftrace:print', { ip: null, buf: 'kvm_convert_memory start 0x1000 size 0x1000 shared_to_private' }],
      ['ftrace:print', { ip: null, buf: 'hello: [001] d..1. 12.345678: fake_event: x=1\nsecond line' }],
    ]);
    expect(summary.skipped).toEqual([]);
  });
});
