/** pKVM: calls that EL2 answers, pages that change hands, what the host may not touch (reference chapter 02 §8). */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { openTrace } from '../../src/parse/index.js';
import { memorySource } from '../../src/parse/source.js';
import { TEXT_FORMATS } from '../../src/parse/text/index.js';
import { findOffset } from '../../src/replay/clocks.js';
import { replay } from '../../src/replay/index.js';
import { loadRules, runRules } from '../../src/replay/rules.js';
import { openStore, type Row, type Store } from '../../src/store/db.js';
import { ingestAll, type TraceInput } from '../../src/store/ingest.js';
import { RESULT_TABLES } from '../../src/store/schema.js';

type Line = readonly [us: number, who: string, text: string];

const WHO: Readonly<Record<string, string>> = {
  vmm: 'crosvm-310     (    310) [001]',
  vcpu0: 'CPU 0/KVM-311     (    310) [000]',
};
const HOST_HEADER = '# tracer: nop\n#\n#           TASK-PID       TGID    CPU#  |||||  TIMESTAMP  FUNCTION';

function seconds(us: number): string {
  return `${Math.floor(us / 1e6)}.${String(us % 1e6).padStart(6, '0')}`;
}

function hostText(lines: readonly Line[]): string {
  return `${[HOST_HEADER, ...lines.map(([us, who, text]) => `  ${WHO[who]!} ..... ${seconds(us)}: ${text}`)].join('\n')}\n`;
}

/** The hypervisor's buffer; `who` is the CPU. */
function hypText(lines: readonly Line[], shiftUs = 0): string {
  return lines.map(([us, cpu, text]) => `[00${cpu}]\t   ${seconds(us + shiftUs)}: ${text}\n`).join('');
}

type Tables = Readonly<Record<string, readonly Readonly<Record<string, unknown>>[]>>;

function plain(row: Row): Record<string, unknown> {
  return Object.fromEntries(Object.entries(row).map(([k, v]) => [k, typeof v === 'bigint' ? Number(v) : v]));
}

async function judged(store: Store, inputs: readonly TraceInput[]): Promise<Tables> {
  await ingestAll(store, inputs);
  await replay(store);
  await runRules(store, loadRules());
  const tables: Record<string, Record<string, unknown>[]> = {};
  for (const name of [...RESULT_TABLES.map((t) => t.name), 'trace', 'lost'])
    tables[name] = (await store.rows(`SELECT * FROM "${name}"`)).map(plain);
  return tables;
}

async function tell(host: string, hyp: string | null = null): Promise<Tables> {
  const store = await openStore(null);
  const input = (path: string, family: string, text: string): TraceInput => {
    const format = TEXT_FORMATS.find((f) => f.name === family)!;
    return { path, reader: format.open(memorySource(path, Buffer.from(text))), sha256: null };
  };
  try {
    const inputs = [input('host.txt', 'ftrace-text', host)];
    if (hyp !== null) inputs.push(input('hyp.txt', 'hyp-text', hyp));
    return await judged(store, inputs);
  } finally {
    store.close();
  }
}

const KVM = '0xffff000000e38000';
const HVA = 0xffff7f970000;
const PAGE = 4096;

/** A protected VM with one vCPU, one memslot at RAM and the page at RAM + 0x2000 donated; time 5.0 to 5.0011 s. */
const PROTECTED: readonly Line[] = [
  [5000000, 'vmm', 'sys_ioctl(fd: 3, cmd: 0xae01, arg: 0x80000000)'],
  [5000010, 'vmm', 'sys_ioctl -> 0x6'],
  [5000020, 'vmm', 'sys_ioctl(fd: 6, cmd: 0xae41, arg: 0)'],
  [5000030, 'vmm', 'sys_ioctl -> 0x8'],
  [5000040, 'vmm', 'sys_ioctl(fd: 6, cmd: 0x4020ae46, arg: 0xffffe7c6e3f0)'],
  [
    5000050,
    'vmm',
    `memslot: (kvm_arch_prepare_memory_region+0x0/0x1a8) kvm=${KVM} change=0 gfn=0x80000 npages=16 hva=0x${HVA.toString(16)} flags=0x0 id=0`,
  ],
  [5000060, 'vmm', 'sys_ioctl -> 0x0'],
  [5001000, 'vcpu0', 'sys_ioctl(fd: 8, cmd: 0xae80, arg: 0)'],
  [5001010, 'vcpu0', `create_hyp_vm: (pkvm_create_hyp_vm+0x0/0x190) kvm=${KVM} handle=4096 protected=1 upid=310`],
  [5001020, 'vcpu0', 'kvm_entry: PC: 0x0000000080000000'],
  [5001030, 'vcpu0', 'kvm_exit: TRAP: HSR_EC: 0x0024 (DABT_LOW), PC: 0x000000008000009c'],
  [5001040, 'vcpu0', 'kvm_guest_fault: ipa 0x80002000, hsr 0x93d88047, hxfar 0x80002000, pc 0x0000008000009c'],
  ...donation(5001050, 0x80002000, 0x40959000),
  [5001090, 'vcpu0', 'kvm_entry: PC: 0x000000008000009c'],
];

function donation(us: number, ipa: number, phys: number, ret = 0): Line[] {
  const [a, p] = [ipa.toString(16), phys.toString(16)];
  return [
    [
      us,
      'vcpu0',
      `s2_map: (pkvm_pgtable_stage2_map+0x0/0x238) pgt=0xffff0000045fe740 ipa=0x${a} size=4096 phys=0x${p} prot=0xf handle=4096`,
    ],
    [us + 10, 'vcpu0', `s2_map_ret: (kvm_handle_guest_abort+0x92c/0xb20 <- pkvm_pgtable_stage2_map) ret=${ret}`],
  ];
}

const RUNS: readonly Line[] = [
  [5001022, '0', 'hyp_enter reason=hvc vcpu=0'],
  [5001024, '0', 'hyp_exit reason=eret_guest vcpu=311'],
];

/** A call of the guest that EL2 answers itself, 20 us long. */
function call(us: number, what: 'share' | 'unshare', ipa: number, phys: number, ret = 0): Line[] {
  const [a, p] = [ipa.toString(16), phys.toString(16)];
  const func = what === 'share' ? '0xc6000003' : '0xc6000004';
  const answer = ret === 0 ? '0x0' : '0xfffffffffffffffd';
  return [
    [us, '0', 'hyp_enter reason=guest_exit vcpu=311'],
    [us + 5, '0', `lab_guest_${what}_host handle=0x1000 vcpu_idx=0 ipa=0x${a} phys=0x${p} nr_pages=1 ret=${ret}`],
    [us + 10, '0', `lab_guest_hvc handle=0x1000 vcpu_idx=0 func=${func} arg1=0x${a} handled=1 ret=${answer}`],
    [us + 20, '0', 'hyp_exit reason=eret_guest vcpu=311'],
  ];
}

/** A share of a page that was never touched: handed on to the host, which donates it, and asked again. */
const SHARED_UNTOUCHED = [
  ...RUNS,
  [5002000, '0', 'hyp_enter reason=guest_exit vcpu=311'],
  [5002005, '0', 'lab_guest_share_host handle=0x1000 vcpu_idx=0 ipa=0x80006000 phys=0x0 nr_pages=1 ret=-2'],
  [
    5002010,
    '0',
    'lab_guest_hvc handle=0x1000 vcpu_idx=0 func=0xc6000003 arg1=0x80006000 handled=0 ret=0xfffffffffffffffd',
  ],
  [5002020, '0', 'hyp_exit reason=eret_host vcpu=0'],
  [5002400, '0', 'hyp_enter reason=hvc vcpu=0'],
  [5002410, '0', 'hyp_exit reason=eret_guest vcpu=311'],
  ...call(5002420, 'share', 0x80006000, 0x4095a000),
] as const satisfies readonly Line[];

describe('calls that EL2 answers', () => {
  it('one row a call, from the exit to the return into the guest', async () => {
    const hyp = [
      ...RUNS,
      ...call(5002000, 'share', 0x80002000, 0x40959000),
      ...call(5003000, 'share', 0x80002000, 0x40959000, -1),
      ...call(5004000, 'unshare', 0x80002000, 0x40959000),
    ];
    const told = await tell(hostText(PROTECTED), hypText(hyp));
    const call0 = { vm_id: 1, vcpu: 0, tid: 311, gpa: 0x80002000, offset: null, size: PAGE, request: 'pkvm-hvc' };
    expect(told['conversion']).toMatchObject([
      {
        ...call0,
        direction: 'to_shared',
        outcome: 'done',
        request_ns: 5002000000,
        resume_ns: 5002020000,
        stop_ns: 20000,
      },
      { ...call0, direction: 'to_shared', outcome: 'refused', certainty: 'observed', mechanism: 'pkvm-hyp' },
      { ...call0, direction: 'to_private', outcome: 'done', request_ns: 5004000000, commit_ns: 5004010000 },
    ]);
    expect(told['gmem_interval']).toMatchObject([
      { gpa: 0x80002000, attribute: 'private', state: 'private', to_ns: 5002005000, certainty: 'observed' },
      { gpa: 0x80002000, attribute: 'shared', state: 'shared', from_ns: 5002005000, to_ns: 5004005000 },
      { gpa: 0x80002000, attribute: 'private', from_ns: 5004005000, to_ns: null },
    ]);
    expect(told['finding']).toEqual([]);
  });

  it('a page that was never touched is donated in between: one call, one row', async () => {
    const told = await tell(hostText(PROTECTED), hypText(SHARED_UNTOUCHED));
    expect(told['conversion']).toMatchObject([
      { gpa: 0x80006000, outcome: 'done', request_ns: 5002000000, resume_ns: 5002440000 },
    ]);
  });

  describe('events are lost while a page is donated in between', () => {
    const lostBefore = (text: string, stamp: string): string =>
      text
        .split('\n')
        .flatMap((line) => (line.includes(stamp) ? ['CPU:0 [LOST 5 EVENTS]', line] : [line]))
        .join('\n');

    it('of the host: the hypervisor still tells the whole call', async () => {
      const host = hostText([...PROTECTED, [5002200, 'vcpu0', 'kvm_entry: PC: 0x000000008000009c']]);
      const told = await tell(lostBefore(host, '5.002200:'), hypText(SHARED_UNTOUCHED));
      expect(told['lost']).toHaveLength(1);
      expect(told['conversion']).toMatchObject([{ outcome: 'done', request_ns: 5002000000, resume_ns: 5002440000 }]);
    });

    it('of the hypervisor: what the first try came to is not known', async () => {
      const told = await tell(hostText(PROTECTED), lostBefore(hypText(SHARED_UNTOUCHED), '5.002400:'));
      expect(told['lost']).toHaveLength(1);
      expect(told['conversion']).toMatchObject([
        { outcome: 'unknown', request_ns: 5002000000 },
        { outcome: 'done', request_ns: 5002420000 },
      ]);
    });
  });

  describe('a handle that two VMs had', () => {
    const before = [
      [4100000, '0', 'lab_vm handle=0x1000 what=0 protected=1 nr_vcpus=1 ret=0'],
      [4100010, '0', 'hyp_exit reason=eret_guest vcpu=299'],
      [4100020, '0', 'hyp_enter reason=guest_exit vcpu=299'],
      [4100030, '0', 'lab_guest_hvc handle=0x1000 vcpu_idx=0 func=0xc6000003 arg1=0x80003000 handled=1 ret=0x0'],
      [4100040, '0', 'hyp_exit reason=eret_guest vcpu=299'],
    ] as const satisfies readonly Line[];
    const taken = [[4200000, '0', 'lab_vm handle=0x1000 what=2 protected=0 nr_vcpus=0 ret=0']] as const;
    const made = [[5001012, '0', 'lab_vm handle=0x1000 what=0 protected=1 nr_vcpus=1 ret=0']] as const;
    const now = [...RUNS, ...call(5002000, 'share', 0x80002000, 0x40959000)];

    it('is not the VM of the host’s recording before that began', async () => {
      const told = await tell(hostText(PROTECTED), hypText([...before, ...taken, ...made, ...now]));
      expect(told['conversion']).toMatchObject([
        { vm_id: null, gpa: 0x80003000 },
        { vm_id: 1, gpa: 0x80002000 },
      ]);
    });

    it('nor where nothing of the hypervisor’s VMs is recorded', async () => {
      const calls = before.filter(([, , text]) => !text.startsWith('lab_vm'));
      const told = await tell(hostText(PROTECTED), hypText([...calls, ...now]));
      expect(told['conversion']).toMatchObject([{ vm_id: null }, { vm_id: 1 }]);
    });

    it('is its VM from its making on, which EL2 tells', async () => {
      const late = PROTECTED.map(([us, who, text]): Line => [us + 10_000, who, text]);
      const early = [...made, ...now];
      const told = await tell(hostText(late), hypText(early));
      expect(told['conversion']).toMatchObject([{ vm_id: 1, gpa: 0x80002000 }]);
    });
  });

  it('no memslot: the guest gets an abort in place of an answer, and goes on with something else', async () => {
    const hyp = [
      ...RUNS,
      [5002000, '0', 'hyp_enter reason=guest_exit vcpu=311'],
      [
        5002010,
        '0',
        'lab_guest_hvc handle=0x1000 vcpu_idx=0 func=0xc6000003 arg1=0xb0000000 handled=0 ret=0xfffffffffffffffd',
      ],
      [5002020, '0', 'hyp_exit reason=eret_host vcpu=0'],
      [5002400, '0', 'hyp_enter reason=hvc vcpu=0'],
      [5002410, '0', 'hyp_exit reason=eret_guest vcpu=311'],
    ] as const satisfies readonly Line[];
    const host = [...PROTECTED, [5003000, 'vcpu0', 'kvm_mmio: mmio write len 8 gpa 0x10000008 val 0x1']] as const;
    const told = await tell(hostText(host), hypText(hyp));
    expect(told['conversion']).toMatchObject([
      { gpa: 0xb0000000, outcome: 'failed', certainty: 'inferred', resume_ns: 5002410000 },
    ]);
  });

  it('without host probes the vCPU’s thread tells the VM, from its first donation to its end', async () => {
    const host = PROTECTED.filter(([, , text]) => !/^(memslot|create_hyp_vm|s2_map)/.test(text));
    const hyp: Line[] = [
      ...RUNS,
      [5001030, '0', 'hyp_enter reason=guest_exit vcpu=311'],
      [5001032, '0', 'hyp_exit reason=eret_host vcpu=0'],
      [5001050, '0', 'hyp_enter reason=hvc vcpu=0'],
      [5001060, '0', 'lab_host_donate_guest handle=0x1000 vcpu_idx=0 ipa=0x80002000 phys=0x40959000 nr_pages=1 ret=0'],
      [5001062, '0', 'hyp_exit reason=eret_host vcpu=0'],
      ...call(5002000, 'share', 0x80002000, 0x40959000),
      [5009000, '1', 'lab_vm handle=0x1000 what=2 protected=0 nr_vcpus=0 ret=0'],
    ];
    const told = await tell(hostText(host), hypText(hyp));
    expect(told['conversion']).toMatchObject([{ vm_id: 1, vcpu: 0, outcome: 'done' }]);
    expect(told['gmem_interval']).toMatchObject([
      { vm_id: 1, attribute: 'private', from_ns: 5001060000, to_ns: 5002005000 },
      { vm_id: 1, attribute: 'shared', from_ns: 5002005000, to_ns: 5009000000 },
    ]);
  });

  it('hyp_enter and hyp_exit alone prove nothing: no row, and what is missing is said', async () => {
    const hyp = [
      ...RUNS,
      [5002000, '0', 'hyp_enter reason=guest_exit vcpu=311'],
      [5002020, '0', 'hyp_exit reason=eret_guest vcpu=311'],
    ] as const satisfies readonly Line[];
    const told = await tell(hostText(PROTECTED), hypText(hyp));
    expect(told['conversion']).toEqual([]);
    const gap = told['unavailable']!.find((row) => row['what'] === 'pkvm-conversions');
    expect(gap?.['missing']).toContain('1 guest exits were answered at EL2 and may have been such calls');
    expect(told['gmem_interval']).toMatchObject([{ attribute: 'private', certainty: 'assumed' }]);
  });

  it('a made-up abort in the host trace is a share by assumption', async () => {
    const host = [
      ...PROTECTED,
      [5002000, 'vcpu0', 'kvm_exit: TRAP: HSR_EC: 0x0024 (DABT_LOW), PC: 0x00000000800001e0'],
      [5002010, 'vcpu0', 'kvm_guest_fault: ipa 0x80006000, hsr 0x92000047, hxfar 0x000000, pc 0x000000800001e0'],
      ...donation(5002020, 0x80006000, 0x4095a000),
      [5002050, 'vcpu0', 'kvm_entry: PC: 0x00000000800001e0'],
    ] as const satisfies readonly Line[];
    const told = await tell(hostText(host));
    expect(told['conversion']).toMatchObject([{ gpa: 0x80006000, direction: 'to_shared', certainty: 'assumed' }]);
  });
});

describe('a plain VM', () => {
  it('asks the host’s KVM to share and is refused', async () => {
    const host = [
      [5000000, 'vmm', 'sys_ioctl(fd: 3, cmd: 0xae01, arg: 0)'],
      [5000010, 'vmm', 'sys_ioctl -> 0x6'],
      [5000020, 'vmm', 'sys_ioctl(fd: 6, cmd: 0xae41, arg: 0)'],
      [5000030, 'vmm', 'sys_ioctl -> 0x8'],
      [5001000, 'vcpu0', 'sys_ioctl(fd: 8, cmd: 0xae80, arg: 0)'],
      [5001020, 'vcpu0', 'kvm_entry: PC: 0x0000000080000000'],
      [5002000, 'vcpu0', 'kvm_exit: TRAP: HSR_EC: 0x0016 (HVC64), PC: 0x00000000800001e4'],
      [5002010, 'vcpu0', 'kvm_hvc_arm64: HVC at 0x00000000800001e4 (r0: 0x00000000c6000003, imm: 0x0)'],
      [
        5002020,
        'vcpu0',
        'smccc: (kvm_smccc_call_handler+0x0/0x498) vcpu=0xffff000004d60000 vcpu_id=0 handle=4096 func=0xc6000003 a1=0x90005000',
      ],
      [5002030, 'vcpu0', 'kvm_entry: PC: 0x00000000800001e4'],
    ] as const satisfies readonly Line[];
    const told = await tell(hostText(host));
    expect(told['conversion']).toMatchObject([
      { gpa: 0x90005000, outcome: 'refused', certainty: 'inferred', request_ns: 5002000000, resume_ns: 5002030000 },
    ]);
  });
});

describe('what the host touches', () => {
  const pipeRead: readonly Line[] = [
    [5005000, 'vmm', 'force_reclaim: (pkvm_force_reclaim_guest_page+0x0/0x80) phys=0x40959000'],
    [5005010, 'vmm', 'force_reclaim_ret: (__do_kernel_fault+0x138/0x1c0 <- pkvm_force_reclaim_guest_page) ret=1'],
  ];

  it('a forced reclaim loses the page: an error, and the page is poisoned', async () => {
    const told = await tell(hostText([...PROTECTED, ...pipeRead]));
    expect(told['host_access']).toMatchObject([
      { vm_id: 1, tid: 310, gpa: 0x80002000, pfn: 0x40959, how: 'forced-reclaim', certainty: 'observed' },
    ]);
    expect(told['finding']).toMatchObject([
      { rule: 'host-access-to-private', severity: 'error', verdict: 'fail', vm_id: 1 },
    ]);
    expect(told['gmem_interval']!.at(-1)).toMatchObject({ allocation: 'poisoned', state: 'poisoned', to_ns: null });
    expect(told['memory_fault']).toEqual([]);
  });

  it('a call that was refused because the frame is the host’s own is no access', async () => {
    const told = await tell(
      hostText([...PROTECTED, pipeRead[0]!, [5005010, 'vmm', pipeRead[1]![2].replace('ret=1', 'ret=0')]]),
    );
    expect(told['host_access']).toEqual([]);
  });

  it('SIGSEGV in a memslot: the access was refused and the page is whole', async () => {
    const far = (HVA + 0x2000).toString(16);
    const host: Line[] = [
      ...PROTECTED,
      [5005000, 'vmm', `sigfault: (arm64_force_sig_fault+0x0/0x78) signo=11 code=2 far=0x${far}`],
      [5005010, 'vmm', 'signal_generate: sig=11 errno=0 code=2 comm=crosvm pid=310 grp=0 res=0'],
      [5006000, 'vmm', 'sigfault: (arm64_force_sig_fault+0x0/0x78) signo=11 code=2 far=0x400000'],
    ];
    const told = await tell(hostText(host));
    expect(told['host_access']).toMatchObject([
      { gpa: 0x80002000, hva: HVA + 0x2000, how: 'sigsegv', certainty: 'inferred' },
    ]);
    expect(told['finding']).toMatchObject([{ rule: 'host-access-to-private', severity: 'warning', count: 1 }]);
  });

  it('host aborts that fill the host’s own map are normal; a refused one without a signal was a system call', async () => {
    const hyp: Line[] = [
      ...RUNS,
      ...call(5002000, 'share', 0x80002000, 0x40959000),
      ...call(5003000, 'unshare', 0x80002000, 0x40959000),
      [5004000, '1', 'lab_host_abort_ret addr=0x4483f000 ret=0'],
      [5005000, '1', 'lab_host_abort_ret addr=0x40959000 ret=-1'],
      [5005200, '1', 'lab_host_abort_ret addr=0x40959000 ret=-1'],
    ];
    const told = await tell(hostText(PROTECTED), hypText(hyp));
    expect(told['host_access']).toMatchObject([
      { gpa: 0x80002000, how: 'efault', certainty: 'inferred', ts_ns: 5005000000 },
    ]);
  });

  it('a reference held over an unshare is told; the donation’s own pin is none', async () => {
    const ref = (us: number, event: string, val: string): Line => [
      us,
      'vmm',
      `${event}: pfn=0x40959 flags=uptodate|lru|owner_2|swapbacked count=1026 mapcount=0 mapping=00000000bdf63549 mt=1 ${val}`,
    ];
    const host = [
      ...PROTECTED,
      ref(5002500, 'page_ref_mod_unless', 'val=1 ret=1'),
      ref(5009000, 'page_ref_mod_and_test', 'val=-1 ret=0'),
      ref(5010000, 'page_ref_mod_and_test', 'val=-1024 ret=0'),
    ];
    const hyp = [
      ...RUNS,
      ...call(5002000, 'share', 0x80002000, 0x40959000),
      ...call(5003000, 'unshare', 0x80002000, 0x40959000),
    ];
    const told = await tell(hostText(host), hypText(hyp));
    expect(told['page_ref']).toMatchObject([
      { vm_id: 1, gpa: 0x80002000, tid: 310, how: 'get', taken_ns: 5002500000, dropped_ns: 5009000000 },
    ]);
    expect(told['finding']).toMatchObject([{ rule: 'unshare-while-pinned', verdict: 'fail', vm_id: 1, count: 1 }]);
  });
});

describe('boots', () => {
  const init = (us: number): Line[] => [
    [us, 'vmm', 'sys_ioctl(fd: 8, cmd: 0x4020aeae, arg: 0xffffe7c6e3f0)'],
    [us + 10, 'vmm', 'sys_ioctl -> 0x0'],
    [us + 20, 'vcpu0', 'sys_ioctl(fd: 8, cmd: 0xae80, arg: 0)'],
    [us + 30, 'vcpu0', 'kvm_entry: PC: 0x0000000080000000'],
  ];
  const psci = (us: number, func: string): Line[] => [
    [us, 'vcpu0', 'kvm_exit: TRAP: HSR_EC: 0x0016 (HVC64), PC: 0x00000000800000fc'],
    [us + 10, 'vcpu0', `kvm_hvc_arm64: HVC at 0x00000000800000fc (r0: 0x00000000${func}, imm: 0x0)`],
    [us + 20, 'vcpu0', 'kvm_userspace_exit: reason KVM_EXIT_SYSTEM_EVENT (24)'],
    [us + 30, 'vcpu0', 'sys_ioctl -> 0x0'],
  ];

  it('PSCI SYSTEM_RESET and KVM_ARM_VCPU_INIT is a reboot; what stays shared is stale', async () => {
    const host = [
      ...PROTECTED,
      ...psci(5010000, '84000009'),
      ...init(5010100),
      ...psci(5020000, '84000008'),
      [5030000, 'vmm', `destroy_hyp_vm: (pkvm_destroy_hyp_vm+0x0/0x98) kvm=${KVM} handle=4096`] as const,
    ];
    const hyp = [
      ...RUNS,
      ...call(5002000, 'share', 0x80002000, 0x40959000),
      ...call(5011000, 'share', 0x80002000, 0x40959000, -1),
    ];
    const told = await tell(hostText(host), hypText(hyp));
    expect(told['reboot']).toMatchObject([{ vm_id: 1, epoch: 1, shared_pages: 1, certainty: 'observed' }]);
    expect(told['finding']).toMatchObject([{ rule: 'stale-share', vm_id: 1, count: 1, verdict: 'fail' }]);
    expect(told['vm']).toMatchObject([{ platform: 'pkvm', to_ns: 5030000000 }]);
  });

  it('a page taken back in the new boot is not stale', async () => {
    const host = [
      ...PROTECTED,
      ...psci(5010000, '84000009'),
      ...init(5010100),
      [5030000, 'vmm', `destroy_hyp_vm: (pkvm_destroy_hyp_vm+0x0/0x98) kvm=${KVM} handle=4096`] as const,
    ];
    const hyp = [
      ...RUNS,
      ...call(5002000, 'share', 0x80002000, 0x40959000),
      ...call(5011000, 'unshare', 0x80002000, 0x40959000),
    ];
    const told = await tell(hostText(host), hypText(hyp));
    expect(told['finding']).toEqual([]);
  });

  it('registers set after a KVM_RUN that failed repair the vCPU', async () => {
    const host = [
      ...PROTECTED,
      [5010000, 'vcpu0', 'kvm_exit: TRAP: HSR_EC: 0x0024 (DABT_LOW), PC: 0x000000008000009c'],
      [5010010, 'vcpu0', 'kvm_userspace_exit: reason error (14)'],
      [5010020, 'vcpu0', 'sys_ioctl -> 0xfffffffffffffff2'],
      ...init(5010100),
    ] as const satisfies readonly Line[];
    const told = await tell(hostText(host));
    expect(told['reboot']).toEqual([]);
    expect(told['memory_fault']).toEqual([]);
  });
});

describe('KVM_EXIT_UNSHARE', () => {
  const runs = (us: number, reason: string, ret = 0): Line[] => [
    [us, 'vcpu0', 'sys_ioctl(fd: 8, cmd: 0xae80, arg: 0)'],
    [
      us + 1,
      'vcpu0',
      `runenter: (kvm_arch_vcpu_ioctl_run+0x0/0x16a0) vcpu=0xffff000100f06e00 vcpu_id=0 kvm=${KVM} reason=${reason} u0=0x8 u1=0x80002000 u2=0x1000 u3=0x0 ret=${ret}`,
    ],
  ];
  const exits: readonly Line[] = [
    [0, 'vcpu0', 'kvm_userspace_exit: reason 0x2c (44)'],
    [1, 'vcpu0', 'sys_ioctl -> 0x0'],
  ];
  const exitsAt = (us: number): Line[] => exits.map(([at, who, text]) => [us + at, who, text]);
  const asks: readonly Line[] = [
    [5002000, 'vcpu0', 'kvm_exit: TRAP: HSR_EC: 0x0016 (HVC64), PC: 0x0000000000000000'],
    [5002001, 'vcpu0', 'kvm_hvc_arm64: HVC at 0x0000000000000000 (r0: 0x00000000c6000004, imm: 0x0)'],
    ...exitsAt(5002002),
  ];
  const enters = (us: number): Line => [us, 'vcpu0', 'kvm_entry: PC: 0x0000000000000000'];
  const touches = (us: number): Line[] => [
    [us, 'vcpu0', 'kvm_exit: TRAP: HSR_EC: 0x0024 (DABT_LOW), PC: 0x0000000000000000'],
    [us + 1, 'vcpu0', 'kvm_guest_fault: ipa 0x80002000, hsr 0x92000047, hxfar 0x000000, pc 0x00000000000000'],
  ];
  const wish = { gpa: 0x80002000, size: PAGE, direction: 'to_private', request: 'pkvm-hvc', mechanism: 'vcpu-run' };

  it('exits again until references are gone: one wish, its exits counted', async () => {
    const host = [
      ...PROTECTED,
      ...asks,
      ...runs(5003000, '0x2c'),
      ...exitsAt(5003002),
      ...runs(5004000, '0x2c'),
      enters(5004010),
    ];
    const told = await tell(hostText(host));
    expect(told['conversion']).toMatchObject([
      { ...wish, outcome: 'done', chunks: 2, request_ns: 5002000000, exit_ns: 5002002000, stop_ns: 2010000 },
    ]);
  });

  it('lets the guest run and stops it at its touch: that is the stop', async () => {
    const host = [
      ...PROTECTED,
      ...asks,
      ...runs(5002010, '0x2c'),
      enters(5002012),
      ...touches(5005000),
      ...exitsAt(5005002),
      ...runs(5605000, '0x2c'),
      enters(5605010),
    ];
    const told = await tell(hostText(host));
    expect(told['conversion']).toMatchObject([
      { ...wish, outcome: 'done', chunks: 2, resume_ns: 5002012000, stop_ns: 600010000 },
    ]);
    expect(told['finding']).toMatchObject([{ rule: 'conversion-stall' }]);
  });

  it('a touch that ends in EFAULT is a memory fault of that wish', async () => {
    const host = [
      ...PROTECTED,
      ...asks,
      ...runs(5002010, '0x2c'),
      enters(5002012),
      ...touches(5005000),
      [5005002, 'vcpu0', 'kvm_userspace_exit: reason error (14)'] as const,
      [5005003, 'vcpu0', 'sys_ioctl -> 0xfffffffffffffff2'] as const,
      ...runs(5006000, '0x27'),
      enters(5006010),
    ];
    const told = await tell(hostText(host));
    expect(told['memory_fault']).toMatchObject([{ gpa: 0x80002000, wanted: 'private', cause: 'pending-conversion' }]);
    expect(told['conversion']).toMatchObject([{ ...wish, chunks: 2, stop_ns: 1010000 }]);
  });

  it('userspace says no', async () => {
    const told = await tell(hostText([...PROTECTED, ...asks, ...runs(5003000, '0x2c', 1), enters(5003010)]));
    expect(told['conversion']).toMatchObject([{ ...wish, outcome: 'refused' }]);
  });
});

describe('one time axis', () => {
  const entries = (host: boolean): Line[] =>
    Array.from({ length: 12 }, (_, k): Line[] => {
      const us = 5100000 + k * k * 1700;
      return host
        ? [[us, 'vcpu0', 'kvm_entry: PC: 0x0000000080000000']]
        : [
            [us + 20, '0', 'hyp_enter reason=hvc vcpu=0'],
            [us + 40 + k, '0', 'hyp_exit reason=eret_guest vcpu=311'],
          ];
    }).flat();
  const hyp = [...RUNS, ...call(5002000, 'share', 0x80002000, 0x40959000), ...entries(false)];

  it('stamps that interleave are left alone', async () => {
    const told = await tell(hostText([...PROTECTED, ...entries(true)]), hypText(hyp));
    expect(told['trace']).toMatchObject([{ clock_offset_ns: 0 }, { clock_offset_ns: 0, notes: [] }]);
  });

  it('another clock is lined up by the entries into the guest, and that is said', async () => {
    const told = await tell(hostText([...PROTECTED, ...entries(true)]), hypText(hyp, 900_000_000));
    const moved = told['trace']![1]!;
    expect(Math.abs(Number(moved['clock_offset_ns']) + 900e9)).toBeLessThan(200_000);
    expect(moved['notes']).toMatchObject([
      expect.stringContaining('so that entries into guests follow those of host.txt'),
    ]);
    expect(told['conversion']).toMatchObject([{ vm_id: 1, outcome: 'done' }]);
    expect(Math.abs(Number(told['conversion']![0]!['request_ns']) - 5002000000)).toBeLessThan(200_000);
  });

  it('recordings that cover little of the same time are not moved', async () => {
    const late = entries(true).slice(-2);
    const told = await tell(hostText([...PROTECTED, ...late]), hypText(hyp));
    expect(told['trace']).toMatchObject([{ clock_offset_ns: 0 }, { clock_offset_ns: 0 }]);
  });

  const beats = (count: number, from: number, apart: number): number[] =>
    Array.from({ length: count }, (_, k) => from + k * apart);
  const uneven = (count: number, from: number): number[] => Array.from({ length: count }, (_, k) => from + k * k * 3e7);

  it('entries that have nothing to do with each other tell no offset', () => {
    expect(findOffset([{ host: uneven(10, 0), hyp: beats(10, 1e9, 7e7) }])).toBe(null);
  });

  it('entries by the beat of a timer fit in many places, and tell none', () => {
    expect(findOffset([{ host: beats(50, 0, 1e7), hyp: beats(200, 3e9, 1e7) }])).toBe(null);
  });

  it('one entry of the host among many of the hypervisor tells nothing', () => {
    expect(findOffset([{ host: [5e9], hyp: beats(100, 9e9, 1e5) }])).toBe(null);
  });

  it('uneven entries that agree tell it', () => {
    expect(findOffset([{ host: uneven(30, 0), hyp: uneven(30, 2e9 + 30_000) }])).toBe(-2_000_030_000);
  });
});

const CAPTURES = new URL('../../../shared/captures/', import.meta.url);

async function tellCapture(...files: readonly string[]): Promise<Tables> {
  const store = await openStore(null);
  try {
    const traces = await Promise.all(files.map((name) => openTrace(fileURLToPath(new URL(name, CAPTURES)))));
    return await judged(
      store,
      traces.map(({ reader }, k) => ({ path: files[k]!, reader, sha256: null })),
    );
  } finally {
    store.close();
  }
}

describe.skipIf(!existsSync(CAPTURES))('recordings', () => {
  it('all 41 calls of one guest, its 5 refused host accesses', async () => {
    const told = await tellCapture('pkvm-basic-labhyp/trace.dat', 'pkvm-basic-labhyp/hyp.trace.txt');
    const outcomes = told['conversion']!.map((row) => `${String(row['direction'])} ${String(row['outcome'])}`);
    expect(outcomes.filter((o) => o === 'to_shared done')).toHaveLength(19);
    expect(outcomes.filter((o) => o === 'to_private done')).toHaveLength(18);
    expect(outcomes.filter((o) => o.endsWith('refused'))).toHaveLength(4);
    expect(told['host_access']!.map((row) => row['how'])).toEqual([
      'sigsegv',
      'sigsegv',
      'efault',
      'efault',
      'sigsegv',
    ]);
  });

  it('two VMs one after the other with one handle and one struct kvm: two reboots of one guest', async () => {
    const told = await tellCapture('pkvm-reboot/trace.boot.txt', 'pkvm-reboot/hyp.trace_pipe.txt');
    expect(told['vm']).toMatchObject([{ platform: 'pkvm' }, { platform: 'pkvm' }]);
    expect(told['reboot']).toMatchObject([
      { vm_id: 1, epoch: 1 },
      { vm_id: 2, epoch: 2 },
    ]);
    expect(new Set(told['boot_epoch']!.map((row) => row['guest'])).size).toBe(1);
  });
});
