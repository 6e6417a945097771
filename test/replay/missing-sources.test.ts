/** Recordings without one of the usual tracepoints: its absence is no evidence, and other events stand in where they can. */
import { describe, expect, it } from 'vitest';
import { asksByHypercall, convertsTo, makesVm, runsAgain, setsPrivate, starts, tell } from '../support/trace-text.js';
import type { Told } from '../support/trace-text.js';

const RAM = 0x1_0000_0000;
const MIB = 1024 * 1024;
const RUNNING = makesVm() + setsPrivate(RAM, 64 * MIB) + starts(0) + starts(1);
const CONVERTS = [
  asksByHypercall(1, 'shared', RAM + 0x5000, 0x2000),
  convertsTo('shared', RAM + 0x5000, 0x2000, 'vcpu1'),
  runsAgain(1),
];

/** The story as it looks where these tracepoints were not recorded. */
function tellWithout(events: readonly string[], ...parts: readonly string[]): Promise<Told> {
  const isKept = (line: string): boolean => !events.some((event) => line.includes(`${event}:`));
  return tell(
    ...parts.map((part) =>
      part
        .split('\n')
        .filter((line) => isKept(line))
        .join('\n'),
    ),
  );
}

describe('without kvm:kvm_entry', () => {
  it('a conversion is done, when its vCPU ran on is not known', async () => {
    const told = await tellWithout(['kvm_entry'], RUNNING, ...CONVERTS);
    expect(told.conversion[1]).toMatchObject({ origin: 'explicit', outcome: 'done', resume_ns: null });
  });

  it('one that failed is not pending where KVM_RUN followed', async () => {
    const failing = CONVERTS[1]!.replace('sys_ioctl -> 0x0', 'sys_ioctl -> 0xfffffffffffffff4');
    const told = await tellWithout(['kvm_entry'], RUNNING, CONVERTS[0]!, failing, CONVERTS[2]!);
    expect(told.conversion[1]).toMatchObject({ origin: 'explicit', outcome: 'failed', last_errno: 12 });
  });

  it('one whose vCPU does not run again is pending', async () => {
    const told = await tellWithout(['kvm_entry'], RUNNING, CONVERTS[0]!);
    expect(told.conversion[1]).toMatchObject({ origin: 'explicit', outcome: 'pending' });
  });
});

describe('without kvm:kvm_userspace_exit', () => {
  it('nobody knows whether the guest asked: no row on a thread of a running vCPU is more than assumed', async () => {
    const told = await tellWithout(['kvm_userspace_exit'], RUNNING, ...CONVERTS);
    expect(told.conversion).toMatchObject([
      { origin: 'vmm', size: 64 * MIB, certainty: 'observed' },
      { gpa: RAM + 0x5000, certainty: 'assumed' },
    ]);
  });
});
