/** What only a probe shows (reference chapter 05): answers of the VMM, results of bindings, kinds of system events. */
import { describe, expect, it } from 'vitest';
import {
  asksByHypercall,
  convertsTo,
  GMEM_FD,
  kvmEntry,
  kvmExit,
  kvmRun,
  makesVm,
  runsAgain,
  setsPrivate,
  starts,
  tell,
  toUserspace,
  VCPU_FD,
  VM_TYPE,
} from '../support/trace-text.js';

const RAM = 0x1_0000_0000;
const PAGE = 4096;
const running = (type: number): string => makesVm(type) + setsPrivate(RAM, 16 * PAGE) + starts(0);
const asks = (reason: string, more = ''): string => `
  vcpu0: ${kvmExit(0, reason, '0x0')}
  ${more}
  ${toUserspace('vcpu0', 'KVM_EXIT_HYPERCALL (3)')}
  vcpu0: ${kvmRun(VCPU_FD[0])}`;
const entry = `vcpu0: ${kvmEntry(0, '0x0')}`;

describe('the answer to a MapGPA (tdx_complete_vmcall_map_gpa)', () => {
  const done = (ret: string): string =>
    `vcpu0: mapgpa_done: (tdx_complete_vmcall_map_gpa+0x0/0x90 [kvm_intel]) vcpu=0xffff88810c1e5500 ret=${ret} next=0x20000000`;

  it('EAGAIN: refused; of which range no tracepoint shows', async () => {
    const told = await tell(running(VM_TYPE.tdx), asks('TDCALL'), done('0xb'), entry);
    expect(told.conversion.slice(1)).toMatchObject([{ outcome: 'refused', direction: null }]);
  });

  it('0 where nobody was seen converting: not refused', async () => {
    const told = await tell(running(VM_TYPE.tdx), asks('TDCALL'), done('0x0'), entry);
    expect(told.conversion.slice(1)).toMatchObject([{ outcome: 'unknown' }]);
  });
});

describe('the answer to a page state change', () => {
  const psc = asks('vmgexit', 'vcpu0: kvm_vmgexit_enter: vcpu 0, exit_reason 80000010, exit_info1 0, exit_info2 0');
  const tracepoint = (info2: string): string =>
    `vcpu0: kvm_vmgexit_exit: vcpu 0, exit_reason 80000010, exit_info1 0, exit_info2 ${info2}`;
  const probe = (ret: string): string =>
    `vcpu0: psc_done: (snp_complete_psc+0x0/0x70 [kvm_amd]) svm=0xffff88810c1e5500 ret=${ret}`;

  it.each([
    ['SW_EXITINFO2 of kvm_vmgexit_exit', tracepoint('10000000000'), tracepoint('0')],
    ['the probe on snp_complete_psc', probe('0x10000000000'), probe('0x0')],
  ])('%s: an error is a refusal; 0 is none', async (_what, failed, fine) => {
    const refused = await tell(running(VM_TYPE.snp), psc, failed, entry);
    expect(refused.conversion.slice(1)).toMatchObject([{ outcome: 'refused', direction: null }]);
    const told = await tell(running(VM_TYPE.snp), psc, fine, entry);
    expect(told.conversion.slice(1)).toMatchObject([{ outcome: 'unknown' }]);
  });
});

describe('the result of a binding', () => {
  const binds = (middle: string, returns = '0x0'): string => `
    vmm: sys_ioctl(fd: 5, cmd: 0x40a0ae49, arg: 0x7ffd1c2e5a30)
    vmm: bind: (kvm_gmem_prepare_memory_region+0x0/0x1f6) kvm=0xffff88810a5f9000 slot=1 base_gfn=0x100000 npages=0x10 fd=${GMEM_FD} offset=0
    vmm: bind_commit: (kvm_gmem_commit_memory_region+0x0/0x80) kvm=0xffff88810a5f9000 slot=1 base_gfn=0x100000 npages=0x10 pgoff=0 ino=0x850
    ${middle}
    vmm: sys_ioctl -> ${returns}`;
  const returned = (ret: number): string =>
    `vmm: bindok: (kvm_set_memory_region+0x0/0x80 <- kvm_gmem_commit_memory_region) ret=${ret}`;

  it('0 binds', async () => {
    for (const story of [binds(''), binds(returned(0))]) {
      const told = await tell(makesVm(), story, starts(0));
      expect(told.binding).toMatchObject([{ slot: 1, gpa: RAM, size: 16 * PAGE, certainty: 'observed' }]);
    }
  });

  it.each([
    ['the ioctl fails: EEXIST, the range is bound already', binds('', '0xffffffffffffffef')],
    ['its commit fails', binds(returned(-17), '0xffffffffffffffef')],
  ])('%s: no binding, and nothing is said of the memory', async (_what, story) => {
    const told = await tell(makesVm(), story, starts(0), convertsTo('private', RAM + 64 * PAGE, PAGE, 'vmm'));
    expect(told.binding).toEqual([]);
    expect(told.gmem_interval.every((i) => i['gpa'] === RAM + 64 * PAGE)).toBe(true);
  });

  it('not seen: bound, inferred', async () => {
    const told = await tell(makesVm(), binds('').replace(/vmm: sys_ioctl -> 0x0\s*$/, ''), starts(0));
    expect(told.binding).toMatchObject([{ slot: 1, certainty: 'inferred' }]);
  });
});

describe('the type of a system event (kvm_prepare_system_event)', () => {
  const made = `
    vmm: sys_ioctl(fd: 4, cmd: 0xae01, arg: 0)
    vmm: sys_ioctl -> 0x5
    vmm: sys_ioctl(fd: 5, cmd: 0xae41, arg: 0)
    vmm: sys_ioctl -> 0x7
    vcpu0: ${kvmRun(7)}
    vcpu0: kvm_entry: PC: 0x0000000080080000`;
  const event = (type: number): string => `
    vcpu0: kvm_exit: TRAP: HSR_EC: 0x0016 (HVC64), PC: 0xffff800080012340
    vcpu0: sysev: (kvm_prepare_system_event+0x0/0x90) vcpu=0xffff000012340000 type=${type} flags=0x0
    ${toUserspace('vcpu0', 'KVM_EXIT_SYSTEM_EVENT (24)')}
    vmm: sys_ioctl(fd: 7, cmd: 0x4020aeae, arg: 0x7ffd1c2e5a40)
    vmm: sys_ioctl -> 0x0
    vcpu0: ${kvmRun(7)}
    vcpu0: kvm_entry: PC: 0x0000000080080000`;

  it('RESET is a reboot', async () => {
    expect((await tell(made, event(2))).reboot).toMatchObject([{ epoch: 1, certainty: 'observed' }]);
  });

  it('SHUTDOWN is no reset: what follows is inferred from the registers alone', async () => {
    expect((await tell(made, event(1))).reboot).toMatchObject([{ how: 'registers set on every vCPU' }]);
  });
});

describe('hypercall.ret (complete_hypercall_exit)', () => {
  it.each([
    ['0x16', 'refused', 'observed'],
    ['0x0', 'unknown', 'inferred'],
  ])('ret %s without any ioctl: %s', async (ret, outcome, certainty) => {
    const told = await tell(
      running(VM_TYPE.sw),
      asksByHypercall(0, 'shared', RAM, PAGE),
      `vcpu0: hypercall_done: (complete_hypercall_exit+0x0/0x90 [kvm]) vcpu=0 ret=${ret}`,
      runsAgain(0),
    );
    expect(told.conversion.slice(1)).toMatchObject([{ outcome, certainty }]);
  });
});
