/** Several recorders of one run, and recordings with nothing but kvm:*: what may be concluded at their edges. */
import { describe, expect, it } from 'vitest';
import { memorySource } from '../../src/parse/source.js';
import { TEXT_FORMATS } from '../../src/parse/text/index.js';
import { replay } from '../../src/replay/index.js';
import { loadRules, runRules } from '../../src/replay/rules.js';
import { openStore, type Row } from '../../src/store/db.js';
import { ingestAll } from '../../src/store/ingest.js';
import {
  analyse,
  asksByHypercall,
  convertsTo,
  kvmEntry,
  kvmExit,
  makesVm,
  setAttributes,
  setsPrivate,
  starts,
  traceText,
  type Cast,
} from '../support/trace-text.js';

const RAM = 0x1_0000_0000;
const PAGE = 4096;

/** Findings and conversions of several recordings of one run, read together. */
async function together(...texts: string[]): Promise<{ findings: Row[]; conversions: Row[] }> {
  const store = await openStore(null);
  try {
    const format = TEXT_FORMATS.find((f) => f.name === 'ftrace-text')!;
    const inputs = texts.map((text, k) => {
      const path = `recorder${k}.txt`;
      return { path, reader: format.open(memorySource(path, Buffer.from(text))), sha256: null };
    });
    await ingestAll(store, inputs);
    await replay(store);
    await runRules(store, loadRules());
    return {
      findings: await store.rows('SELECT rule, verdict FROM finding ORDER BY finding_id'),
      conversions: await store.rows('SELECT outcome, origin FROM conversion ORDER BY conversion_id'),
    };
  } finally {
    store.close();
  }
}

/** Lines of a story that hold one of the words, with their stamps. */
function only(text: string, words: RegExp): string {
  return text
    .split('\n')
    .filter((line) => line.startsWith('#') || words.test(line))
    .join('\n');
}

describe('recorders of one run that stop seconds apart', () => {
  const story = traceText([
    makesVm() + setsPrivate(RAM, 16 * PAGE) + starts(0),
    asksByHypercall(0, 'shared', RAM, PAGE),
    `+6s other: sched_switch: prev_comm=postgres prev_pid=900 prev_prio=120 prev_state=S ==> next_comm=swapper/1 next_pid=0 next_prio=120`,
  ]);

  it('the one that would show the end of a request stopped first: it is not "never completed"', async () => {
    const { findings, conversions } = await together(
      `${only(story, /kvm_|sys_/)}\n`,
      `${only(story, /sched_switch/)}\n`,
    );
    expect(conversions.at(-1)).toMatchObject({ outcome: 'pending' });
    expect(findings.filter((f) => f['verdict'] === 'fail')).toEqual([]);
  });
});

describe('some of the edges of KVM_RUN are not recorded', () => {
  const noFinding = async (...parts: string[]): Promise<void> => {
    const told = await analyse(traceText(parts));
    expect(told.finding).toEqual([]);
  };

  it('kvm_entry alone: one after the other is no sign of lost events', () =>
    noFinding(`
      vcpu0: ${kvmEntry(0)}
      vcpu0: ${kvmEntry(0)}
      vcpu0: ${kvmEntry(0)}`));

  it('no exits to userspace: KVM_RUN again and again is none either', () =>
    noFinding(
      makesVm() + starts(0),
      ...Array.from(
        { length: 3 },
        () => `
        vcpu0: ${kvmExit(0, 'HLT')}
        vcpu0: sys_ioctl -> 0x0
        vcpu0: sys_ioctl(fd: 7, cmd: 0xae80, arg: 0)
        vcpu0: ${kvmEntry(0)}`,
      ),
    ));
});

describe('nothing but kvm:*', () => {
  const life = (to: 'private' | 'shared'): string => `
    vcpu0: ${kvmEntry(0)}
    vcpu0: ${kvmExit(0, 'VMCALL')}
    vcpu0: kvm_hypercall: nr 0xc a0 0x100000000 a1 0x1 a2 ${to === 'private' ? '0x10' : '0x0'} a3 0x20000
    vcpu0: kvm_userspace_exit: reason KVM_EXIT_HYPERCALL (3)
    vcpu0: ${setAttributes(RAM, PAGE, to)}
    vcpu0: ${kvmEntry(0)}
    vcpu0: ${kvmExit(0, 'HLT')}`;

  it('two lives of one thread and process number: both conversions are told, no state is carried from one to the other', async () => {
    const first = traceText([life('shared')]);
    const second = traceText([life('shared')])
      .replace(/^#.*\n/gm, '')
      .replaceAll(' 100.', ' 200.');
    const told = await analyse(first + second);
    // Nothing shows that the process is another: the second is no no-op for sure, and nothing is wrong.
    expect(told.conversion).toMatchObject([
      { outcome: 'done', certainty: 'inferred' },
      { outcome: 'done', certainty: 'inferred' },
    ]);
    expect(told.finding).toEqual([]);
    expect(told.reboot).toEqual([]);
  });

  it('two VMMs of one name without tgids: never more certain than assumed which VM it was', async () => {
    const cast: Cast = { vcpu0: 'CPU 0/KVM-101 (100) [000]', again: 'CPU 0/KVM-201 (200) [001]' };
    const told = await analyse(
      traceText([life('shared'), life('private').replaceAll('vcpu0:', 'again:')], { cast, tgids: false }),
    );
    expect(told.vm).toMatchObject([{ certainty: 'assumed' }, { certainty: 'assumed' }]);
    expect(told.vcpu).toMatchObject([{ certainty: 'assumed' }, { certainty: 'assumed' }]);
    expect(told.finding).toEqual([]);
  });

  it('vCPUs of different numbers and one name may be of two VMMs just as well: one VM by assumption', async () => {
    const cast: Cast = { vcpu0: 'CPU 0/KVM-101 (100) [000]', vcpu1: 'CPU 1/KVM-201 (200) [001]' };
    const story = `vcpu0: ${kvmEntry(0)}\nvcpu1: ${kvmEntry(1)}`;
    const told = await analyse(traceText([story], { cast, tgids: false }));
    expect(told.vm).toMatchObject([{ certainty: 'assumed', how: 'threads of one name that run a guest' }]);
    expect(told.vcpu).toMatchObject([
      { vcpu: 0, certainty: 'assumed' },
      { vcpu: 1, certainty: 'assumed' },
    ]);
    const withTgids = await analyse(traceText([story], { cast: { ...cast, vcpu1: 'CPU 1/KVM-102 (100) [001]' } }));
    expect(withTgids.vm).toMatchObject([{ certainty: 'inferred' }]);
    expect(withTgids.vcpu).toMatchObject([{ certainty: 'inferred' }, { certainty: 'inferred' }]);
  });

  it('a lone vCPU thread is a VM of its own, inferred', async () => {
    const told = await analyse(traceText([`vcpu0: ${kvmEntry(0)}`], { tgids: false }));
    expect(told.vm).toMatchObject([{ certainty: 'inferred' }]);
  });

  it('a second VM of the process while the first one runs is none of its boots', async () => {
    const told = await analyse(
      traceText([
        makesVm() + setsPrivate(RAM, 16 * PAGE) + starts(0),
        convertsTo('shared', RAM, PAGE, 'vcpu0'),
        makesVm().replaceAll('0x5', '0x15').replaceAll('0x6', '0x16').replaceAll('0x7', '0x17'),
      ]),
    );
    expect(told.reboot).toEqual([]);
  });
});
