/** Lost events make uncertain what they may have changed, and nothing else. */
import { describe, expect, it } from 'vitest';
import {
  asksByHypercall,
  convertsTo,
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
  type Told,
} from '../support/trace-text.js';

const RAM = 0x1_0000_0000;
const PAGE = 4096;
const MIB = 1024 * 1024;
const CHUNK = 2 * MIB;
const RUNNING = makesVm() + setsPrivate(RAM, 64 * MIB) + starts(0) + starts(1);
const TDX_RUNNING = makesVm(VM_TYPE.tdx) + setsPrivate(RAM, 64 * MIB) + starts(0, '0x0') + starts(1, '0x0');
const LOST_ON_0 = 'CPU:0 [LOST 40 EVENTS]';
const LOST_ON_1 = 'CPU:1 [LOST 40 EVENTS]';
const TDCALL = `vcpu0: ${kvmExit(0, 'TDCALL', '0x0')}`;
const HYPERCALL_EXIT = toUserspace('vcpu0', 'KVM_EXIT_HYPERCALL (3)');
const HALT = `vcpu0: ${kvmExit(0, 'HLT')}\nvcpu0: ${kvmEntry(0)}`;

/** sched_switch of vCPU 0's thread. */
const leavesCpu = `vcpu0: sched_switch: prev_comm=CPU 0/KVM prev_pid=101 prev_prio=120 prev_state=S ==> next_comm=swapper/0 next_pid=0 next_prio=120`;
const getsCpu = `vcpu0: sched_switch: prev_comm=swapper/0 prev_pid=0 prev_prio=120 prev_state=R ==> next_comm=CPU 0/KVM next_pid=101 next_prio=120`;

/** What is told of the first page of memory, in order of time. */
function viewsOfFirstPage(told: Told): readonly string[] {
  return told.gmem_interval
    .filter((i) => i['gpa'] === RAM && i['conversion'] === 'idle')
    .sort((a, b) => Number(a['from_ns']) - Number(b['from_ns']))
    .map((i) => `${String(i['attribute'])} ${String(i['certainty'])}`);
}

function claims(told: Told): Told['conversion'] {
  return told.conversion.filter((c) => c['certainty'] === 'observed' || c['certainty'] === 'inferred');
}

describe('what memory was, where events are lost', () => {
  it('is sure up to the loss, assumed from then on, and sure again with the next evidence', async () => {
    const flip = asksByHypercall(0, 'shared', RAM, PAGE) + convertsTo('shared', RAM, PAGE, 'vcpu0') + runsAgain(0);
    const again = asksByHypercall(0, 'shared', RAM, PAGE) + convertsTo('shared', RAM, PAGE, 'vcpu0') + runsAgain(0);
    const told = await tell(RUNNING, flip, HALT, LOST_ON_0, HALT, again);
    expect(viewsOfFirstPage(told)).toEqual([
      'private observed',
      'shared observed',
      'shared assumed',
      'shared observed',
    ]);
  });

  it('stays sure where nothing is lost', async () => {
    const told = await tell(RUNNING, HALT);
    expect(viewsOfFirstPage(told)).toEqual(['private observed']);
  });

  it('is assumed at once where another CPU is losing events while it is seen', async () => {
    const told = await tell(
      makesVm(),
      setsPrivate(RAM, 64 * MIB),
      starts(0),
      starts(1),
      LOST_ON_1,
      asksByHypercall(0, 'shared', RAM, PAGE) + convertsTo('shared', RAM, PAGE, 'vcpu0') + runsAgain(0),
      `vcpu1: ${kvmExit(1, 'HLT')}`,
    );
    expect(viewsOfFirstPage(told).at(-1)).toBe('shared assumed');
    expect(told.gmem_interval.filter((i) => i['attribute'] === 'shared' && i['certainty'] === 'observed')).toEqual([]);
  });
});

describe('the borders of a lost stretch', () => {
  it('the last event before it still counts', async () => {
    const told = await tell(
      RUNNING,
      asksByHypercall(0, 'shared', RAM, PAGE),
      convertsTo('shared', RAM, PAGE, 'vcpu0'),
      LOST_ON_0,
      HALT,
    );
    expect(told.conversion.at(-1)).toMatchObject({
      origin: 'explicit',
      gpa: RAM,
      direction: 'to_shared',
      outcome: 'done',
      resume_ns: null,
    });
    expect(claims(told)).toHaveLength(2);
  });

  it('a thread that kept its own CPU, as the scheduler shows, keeps its conversion', async () => {
    const told = await tell(
      RUNNING,
      getsCpu,
      asksByHypercall(0, 'shared', RAM, PAGE),
      LOST_ON_1,
      convertsTo('shared', RAM, PAGE, 'vcpu0'),
      `vcpu1: ${kvmExit(1, 'HLT')}`,
      runsAgain(0),
    );
    expect(told.conversion.at(-1)).toMatchObject({ origin: 'explicit', outcome: 'done', certainty: 'observed' });
  });

  it('one that was off its CPU meanwhile may have run on the other: its next ioctl is nobody’s', async () => {
    const told = await tell(
      RUNNING,
      getsCpu,
      asksByHypercall(0, 'shared', RAM, PAGE),
      LOST_ON_1,
      leavesCpu,
      getsCpu,
      convertsTo('shared', RAM, PAGE, 'vcpu0'),
      runsAgain(0),
      `vcpu1: ${kvmExit(1, 'HLT')}`,
    );
    const flip = told.conversion.filter((c) => c['mechanism'] === 'vm-attributes' && c['direction'] === 'to_shared');
    expect(flip.map((c) => c['certainty'])).toEqual(['assumed']);
  });

  it('a descriptor is not taken for that of the ioctl before the loss', async () => {
    const told = await tell(
      `vmm: sys_ioctl(fd: 4, cmd: 0xae01, arg: 1)
       vmm: sys_ioctl -> 0x5
       vmm: sys_ioctl(fd: 5, cmd: 0xae41, arg: 1)`,
      LOST_ON_1,
      `vmm: sys_ioctl -> 0x7`,
      starts(0),
      asksByHypercall(0, 'shared', RAM, PAGE),
      convertsTo('shared', RAM, PAGE, 'vcpu0'),
      runsAgain(0),
    );
    expect(told.vcpu.map((v) => v['vcpu'])).toEqual([0]);
    expect(told.conversion).toMatchObject([{ vcpu: 0, origin: 'explicit' }]);
  });
});

describe('a MapGPA that began where events were lost', () => {
  const chunks = (count: number, from = RAM): string =>
    Array.from({ length: count }, (_, k) => {
      const run = k === 0 ? '' : `vcpu0: ${kvmRun(VCPU_FD[0])}`;
      return `${run}${HYPERCALL_EXIT}${convertsTo('shared', from + k * CHUNK, CHUNK, 'vcpu0')}`;
    }).join('\n');

  it('its chunks after the loss are no conversion of their own', async () => {
    const rest = `vcpu0: ${kvmRun(VCPU_FD[0])}${chunks(2, RAM + CHUNK)}`;
    const told = await tell(TDX_RUNNING, TDCALL, chunks(1), LOST_ON_0, rest, runsAgain(0));
    expect(claims(told).filter((c) => c['direction'] === 'to_shared')).toEqual([]);
    expect(told.conversion.filter((c) => c['gpa'] === RAM + CHUNK)).toMatchObject([{ certainty: 'assumed' }]);
  });

  it('nor is what the guest asks for at once after the loss: it may have been told RETRY', async () => {
    const told = await tell(TDX_RUNNING, LOST_ON_0, TDCALL, chunks(1), `+3ms ${runsAgain(0).trim()}`);
    expect(told.conversion.at(-1)).toMatchObject({ request: 'tdx-mapgpa', certainty: 'assumed' });
  });

  it('where fewer events are lost than a request leaves behind, none was hidden: the next one is whole', async () => {
    const told = await tell(TDX_RUNNING, 'CPU:0 [LOST 4 EVENTS]', TDCALL, chunks(1), runsAgain(0), `+3ms ${HALT}`);
    expect(told.conversion.at(-1)).toMatchObject({ request: 'tdx-mapgpa', certainty: 'observed', outcome: 'done' });
  });

  it('unless the end of something is seen first: its beginning is among the few', async () => {
    const told = await tell(TDX_RUNNING, 'CPU:0 [LOST 4 EVENTS]', runsAgain(0), TDCALL, chunks(1), runsAgain(0));
    expect(told.conversion.at(-1)).toMatchObject({ request: 'tdx-mapgpa', certainty: 'assumed' });
  });

  it('what was told of the one before a few lost events stays', async () => {
    const told = await tell(
      TDX_RUNNING,
      TDCALL,
      chunks(2),
      runsAgain(0),
      'CPU:0 [LOST 4 EVENTS]',
      HALT,
      `+3ms ${HALT}`,
    );
    expect(told.conversion.at(-1)).toMatchObject({ size: 2 * CHUNK, certainty: 'observed', outcome: 'done' });
  });

  it('lost in the middle of the rest: one conversion all the same', async () => {
    const told = await tell(
      TDX_RUNNING,
      TDCALL,
      chunks(1),
      runsAgain(0),
      TDCALL,
      chunks(1, RAM + CHUNK),
      LOST_ON_0,
      HALT,
    );
    expect(told.conversion.filter((c) => c['direction'] === 'to_shared')).toMatchObject([
      { gpa: RAM, size: 2 * CHUNK, certainty: 'assumed' },
    ]);
  });

  it('a while after the loss it is one', async () => {
    const later = `+3ms vcpu0: ${kvmExit(0, 'TDCALL', '0x0')}`;
    const told = await tell(TDX_RUNNING, LOST_ON_0, HALT, later, chunks(1), runsAgain(0), `+3ms ${HALT}`);
    expect(told.conversion.at(-1)).toMatchObject({ request: 'tdx-mapgpa', certainty: 'observed', outcome: 'done' });
  });

  it('one whose last chunk is a whole one may go on where events are lost right after it', async () => {
    const told = await tell(TDX_RUNNING, TDCALL, chunks(2), runsAgain(0), LOST_ON_0, `+3ms ${HALT}`);
    expect(told.conversion.at(-1)).toMatchObject({ gpa: RAM, size: 2 * CHUNK, certainty: 'assumed' });
  });

  it('the rest that a guest asks for after RETRY is the same wish, lost in the middle or not', async () => {
    const rest = `${TDCALL}\n${chunks(1, RAM + 2 * CHUNK)}`;
    const told = await tell(TDX_RUNNING, TDCALL, chunks(2), runsAgain(0), rest, LOST_ON_0, `+3ms ${HALT}`);
    const rows = told.conversion.filter((c) => c['direction'] === 'to_shared');
    expect(rows).toMatchObject([{ gpa: RAM, size: 3 * CHUNK, certainty: 'assumed' }]);
  });
});

describe('events that are missing without a marker', () => {
  it('an interrupt leads to no hypercall: the request’s start was not seen', async () => {
    const told = await tell(
      RUNNING,
      `vcpu0: ${kvmExit(0, 'EXTERNAL_INTERRUPT')}`,
      `+2ms ${toUserspace('vcpu0', 'KVM_EXIT_HYPERCALL (3)').trim()}`,
      convertsTo('shared', RAM, PAGE, 'vcpu0'),
      runsAgain(0),
    );
    const row = told.conversion.at(-1);
    expect(row).toMatchObject({ gpa: RAM, direction: 'to_shared', request_ns: null });
    expect(told.finding).toMatchObject([{ rule: 'lost-events', verdict: 'fail' }]);
    expect(String(told.finding[0]!['title'])).toMatch(/unknown number of events .*sequence/);
  });

  it('the guest is left without having been entered: when it ran again is not known', async () => {
    const told = await tell(
      RUNNING,
      asksByHypercall(0, 'shared', RAM, PAGE),
      convertsTo('shared', RAM, PAGE, 'vcpu0'),
      `vcpu0: ${kvmRun(VCPU_FD[0])}`,
      `+2ms ${HALT}`,
    );
    expect(told.conversion.at(-1)).toMatchObject({
      gpa: RAM,
      direction: 'to_shared',
      outcome: 'done',
      resume_ns: null,
    });
  });

  it('a descriptor is no result of an ioctl that sets attributes', async () => {
    const told = await tell(makesVm(), convertsTo('private', RAM, PAGE, 'vmm', '0x9'), starts(0));
    expect(told.conversion.filter((c) => c['outcome'] === 'failed')).toEqual([]);
    expect(claims(told)).toEqual([]);
  });
});

it('a trace in which every event follows the one before has lost nothing', async () => {
  const flip = convertsTo('shared', RAM, PAGE, 'vcpu0');
  const told = await tell(RUNNING, asksByHypercall(0, 'shared', RAM, PAGE), flip, runsAgain(0), HALT);
  expect(told.finding).toEqual([]);
});

describe('a wish by KVM_EXIT_UNSHARE', () => {
  const arm = (story: string): string =>
    `vmm: sys_ioctl(fd: 4, cmd: 0xae01, arg: 0x80000028)
     vmm: sys_ioctl -> 0x5
     vmm: sys_ioctl(fd: 5, cmd: 0xae41, arg: 0)
     vmm: sys_ioctl -> 0x7
     vcpu0: ${kvmRun(VCPU_FD[0])}
     vcpu0: kvm_entry: PC: 0xffff800080012344
     ${story}
     vcpu0: ${kvmRun(VCPU_FD[0])}
     vcpu0: kvm_entry: PC: 0xffff800080012344`;
  const call = `vcpu0: kvm_exit: TRAP: HSR_EC: 0x0016 (HVC64), PC: 0xffff800080012344
    vcpu0: kvm_hvc_arm64: HVC at 0xffff800080012344 (r0: 0x00000000c6000004, r1: 0x0000000100000000)`;
  const exit = toUserspace('vcpu0', 'KVM_EXIT_UNKNOWN (44)');

  it('is claimed where the guest’s call was seen', async () => {
    const told = await tell(arm(`${call}${exit}`));
    expect(claims(told)).toMatchObject([{ mechanism: 'vcpu-run', outcome: 'done' }]);
  });

  it('is not where the call is lost: an earlier wish may come out again', async () => {
    const told = await tell(arm(`${LOST_ON_0}${exit}`));
    expect(told.conversion).toMatchObject([{ mechanism: 'vcpu-run', certainty: 'assumed' }]);
  });
});
