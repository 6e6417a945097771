/**
 * Hand-made ftrace texts that read like a story, and what the replay says of them. A story is lines of
 *
 *     [+DELAY] WHO: EVENT TEXT        (vcpu0: kvm_userspace_exit: reason KVM_EXIT_HYPERCALL (3))
 *
 * WHO is a name of the cast; DELAY (us, ms, s) is what passes before the line beyond the usual 10 us; `WHO[3]` puts the
 * line on CPU 3. Lines that begin with `#` or `CPU:` stand as they are. The event's text is the kernel's own.
 */
import { TEXT_FORMATS } from '../../src/parse/text/index.js';
import { memorySource } from '../../src/parse/source.js';
import { replay } from '../../src/replay/index.js';
import { loadRules, runRules } from '../../src/replay/rules.js';
import { openStore, type Row, type Store } from '../../src/store/db.js';
import { ingestAll } from '../../src/store/ingest.js';
import { RESULT_TABLES } from '../../src/store/schema.js';

/** Name in the story → `comm-tid (tgid) [cpu]`, as the kernel prints it. */
export type Cast = Readonly<Record<string, string>>;

/** One VMM with two vCPUs, and a process that has nothing to do with it. */
export const ONE_VM: Cast = {
  vmm: 'qemu-kvm-100 (100) [001]',
  vcpu0: 'CPU 0/KVM-101 (100) [000]',
  vcpu1: 'CPU 1/KVM-102 (100) [001]',
  other: 'postgres-900 (900) [001]',
};

export interface TextOptions {
  readonly cast?: Cast;
  /** Whether the recorder noted tgids (trace option record-tgid). */
  readonly tgids?: boolean;
  /** `x86-tsc` prints cycles of a 2 GHz machine. */
  readonly clock?: 'mono' | 'x86-tsc';
}

interface Who {
  readonly comm: string;
  readonly tid: string;
  readonly tgid: string;
  readonly cpu: number;
}

const UNITS: Readonly<Record<string, number>> = { us: 1, ms: 1000, s: 1_000_000 };
const START_US = 100_000_000;
const STEP_US = 10;

function readWho(cast: Cast, name: string, cpu: string | undefined): Who {
  const match = /^(.*)-(\d+) \((\d+)\) \[(\d+)\]$/.exec(cast[name] ?? '');
  if (!match) throw new Error(`nobody named ${name} is in the cast`);
  const [, comm, tid, tgid, home] = match;
  return { comm: comm!, tid: tid!, tgid: tgid!, cpu: Number(cpu ?? home) };
}

function header(tgids: boolean): string {
  const columns = tgids
    ? '#           TASK-PID       TGID    CPU#  |||||  TIMESTAMP  FUNCTION'
    : '#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION';
  return `# tracer: nop\n#\n${columns}`;
}

/** The text of a trace, as the kernel prints it, from the parts of a story. */
export function traceText(parts: readonly string[], options: TextOptions = {}): string {
  const { cast = ONE_VM, tgids = true, clock = 'mono' } = options;
  let now = START_US;
  const lines = parts
    .flatMap((part) => part.split('\n'))
    .map((line) => line.trim())
    .filter((line) => line !== '')
    .map((line) => {
      if (line.startsWith('#') || line.startsWith('CPU:')) return line;
      const match = /^(?:\+([\d.]+)(us|ms|s) +)?(\w+)(?:\[(\d+)\])?: (.*)$/.exec(line);
      if (!match) throw new Error(`no line of a story: ${line}`);
      const [, delay, unit, name, cpu, text] = match;
      now += STEP_US + (delay === undefined ? 0 : Number(delay) * UNITS[unit!]!);
      const who = readWho(cast, name!, cpu);
      const process = tgids ? `(${who.tgid.padStart(7)}) ` : '';
      const time =
        clock === 'mono' ? `${Math.floor(now / 1e6)}.${String(now % 1e6).padStart(6, '0')}` : String(now * 2000);
      const context = `${who.comm.padStart(16)}-${who.tid.padEnd(7)} ${process}[${String(who.cpu).padStart(3, '0')}] .....`;
      return `${context} ${time.padStart(12)}: ${text!}`;
    });
  return `${[header(tgids), ...lines].join('\n')}\n`;
}

type Value = string | number | boolean | null;

/** Rows of the result tables, numbers as numbers; times in ns of the trace's clock. */
export interface Told {
  readonly vm: readonly Readonly<Record<string, Value>>[];
  readonly vcpu: readonly Readonly<Record<string, Value>>[];
  readonly gmem: readonly Readonly<Record<string, Value>>[];
  readonly binding: readonly Readonly<Record<string, Value>>[];
  readonly gmem_interval: readonly Readonly<Record<string, Value>>[];
  readonly conversion: readonly Readonly<Record<string, Value>>[];
  readonly conversion_attempt: readonly Readonly<Record<string, Value>>[];
  readonly memory_fault: readonly Readonly<Record<string, Value>>[];
  readonly punch: readonly Readonly<Record<string, Value>>[];
  readonly reboot: readonly Readonly<Record<string, Value>>[];
  readonly boot_epoch: readonly Readonly<Record<string, Value>>[];
  readonly page_ref: readonly Readonly<Record<string, Value>>[];
  readonly dma_map: readonly Readonly<Record<string, Value>>[];
  readonly finding: readonly Readonly<Record<string, Value>>[];
  readonly unavailable: readonly Readonly<Record<string, Value>>[];
}

function plain(row: Row): Record<string, Value> {
  return Object.fromEntries(
    Object.entries(row).map(([key, value]) => [key, typeof value === 'bigint' ? Number(value) : (value as Value)]),
  );
}

async function readTables(store: Store): Promise<Told> {
  const tables: Record<string, Record<string, Value>[]> = {};
  for (const { name } of RESULT_TABLES) tables[name] = (await store.rows(`SELECT * FROM "${name}"`)).map(plain);
  return tables as unknown as Told;
}

/** Reads a text, replays and judges it. */
export async function analyse(text: string, clock?: string): Promise<Told> {
  const store = await openStore(null);
  try {
    const source = memorySource('story.txt', Buffer.from(text));
    const format = TEXT_FORMATS.find((f) => f.name === 'ftrace-text')!;
    const input = { path: 'story.txt', reader: format.open(source), sha256: null };
    await ingestAll(store, [clock === undefined ? input : { ...input, clock }]);
    await replay(store);
    await runRules(store, loadRules());
    return await readTables(store);
  } finally {
    store.close();
  }
}

/** What the replay tells of a story with the usual cast. */
export function tell(...parts: readonly string[]): Promise<Told> {
  return analyse(traceText(parts));
}

/** kvm_exit of x86. */
export function kvmExit(vcpu: number, reason: string, rip = '0x10085'): string {
  return `kvm_exit: vcpu ${vcpu} reason ${reason} rip ${rip} info1 0x0000000000000000 info2 0x0000000000000000 intr_info 0x00000000 error_code 0x00000000 requests 0x0000000000000000`;
}

/** kvm_entry of x86. */
export function kvmEntry(vcpu: number, rip = '0x10088'): string {
  return `kvm_entry: vcpu ${vcpu}, rip ${rip} intr_info 0x00000000 error_code 0x00000000`;
}

/** kvm_page_fault of x86; the address as the hardware has it, with the shared bit. */
export function kvmPageFault(vcpu: number, address: number, errorCode = '0x100000006'): string {
  return `kvm_page_fault: vcpu ${vcpu} rip 0x1005d address 0x${address.toString(16).padStart(16, '0')} error_code ${errorCode}`;
}

/** kvm_vm_set_mem_attributes: [gpa, gpa + size) becomes private or shared. */
export function setAttributes(gpa: number, size: number, to: 'private' | 'shared'): string {
  const gfn = (n: number): string => `0x${(n / 4096).toString(16).padStart(14, '0')}`;
  return `kvm_vm_set_mem_attributes: ${gfn(gpa)} -- ${gfn(gpa + size)} [${to === 'private' ? '0x8' : '0x0'}]`;
}

/** Descriptors of the usual VM: KVM_CREATE_VM gives 5, its guest_memfd 6, its vCPUs 7 and 8. */
export const VM_FD = 5;
export const GMEM_FD = 6;
export const VCPU_FD = [7, 8] as const;

/** A value of a system call as the kernel prints it: below 10 decimal, else hex. */
export function syscallValue(value: number): string {
  return value < 10 ? String(value) : `0x${value.toString(16)}`;
}

/** ioctl(fd, KVM_RUN). */
export function kvmRun(fd: number): string {
  return `sys_ioctl(fd: ${syscallValue(fd)}, cmd: 0xae80, arg: 0)`;
}

/** KVM_CREATE_VM's types of x86. */
export const VM_TYPE = { sw: 1, snp: 4, tdx: 5 } as const;

/** The VMM makes the usual VM with a guest_memfd and two vCPUs. */
export function makesVm(type: number = VM_TYPE.sw, who = 'vmm'): string {
  return `
    ${who}: sys_ioctl(fd: 4, cmd: 0xae01, arg: ${type})
    ${who}: sys_ioctl -> 0x5
    ${who}: sys_ioctl(fd: 5, cmd: 0xc040aed4, arg: 0x7ffd1c2e5a30)
    ${who}: sys_ioctl -> 0x6
    ${who}: sys_ioctl(fd: 5, cmd: 0xae41, arg: 0)
    ${who}: sys_ioctl -> 0x7
    ${who}: sys_ioctl(fd: 5, cmd: 0xae41, arg: 1)
    ${who}: sys_ioctl -> 0x8`;
}

/** The VMM makes memory private before the guest runs. */
export function setsPrivate(gpa: number, size: number, who = 'vmm'): string {
  return convertsTo('private', gpa, size, who);
}

/** ioctl(VM, KVM_SET_MEMORY_ATTRIBUTES) with what it returns. */
export function convertsTo(to: 'private' | 'shared', gpa: number, size: number, who: string, returns = '0x0'): string {
  return `
    ${who}: sys_ioctl(fd: 5, cmd: 0x4020aed2, arg: 0x7ffd1c2e5a40)
    ${who}: ${setAttributes(gpa, size, to)}
    ${who}: sys_ioctl -> ${returns}`;
}

/** A vCPU runs for the first time. */
export function starts(vcpu: 0 | 1, rip = '0xfff0'): string {
  return `
    vcpu${vcpu}: ${kvmRun(VCPU_FD[vcpu])}
    vcpu${vcpu}: ${kvmEntry(vcpu, rip)}`;
}

/** KVM_RUN returns 0 after the exit that is printed as `reason`. */
export function toUserspace(who: string, reason: string): string {
  return `
    ${who}: kvm_userspace_exit: reason ${reason}
    ${who}: sys_ioctl -> 0x0`;
}

/** The guest asks by KVM_HC_MAP_GPA_RANGE, and its vCPU goes to userspace. */
export function asksByHypercall(vcpu: 0 | 1, to: 'private' | 'shared', gpa: number, size: number): string {
  const a2 = to === 'private' ? '0x10' : '0x0';
  return `
    vcpu${vcpu}: ${kvmExit(vcpu, 'VMCALL')}
    vcpu${vcpu}: kvm_hypercall: nr 0xc a0 0x${gpa.toString(16)} a1 0x${(size / 4096).toString(16)} a2 ${a2} a3 0x20000
    ${toUserspace(`vcpu${vcpu}`, 'KVM_EXIT_HYPERCALL (3)')}`;
}

/** The VMM runs the vCPU again, and it enters the guest. */
export function runsAgain(vcpu: 0 | 1): string {
  return `
    vcpu${vcpu}: ${kvmRun(VCPU_FD[vcpu])}
    vcpu${vcpu}: ${kvmEntry(vcpu)}`;
}

/** A fault on the other view ends in KVM_EXIT_MEMORY_FAULT. */
export function faults(vcpu: 0 | 1, address: number, reason = 'EPT_VIOLATION'): string {
  return `
    vcpu${vcpu}: ${kvmExit(vcpu, reason)}
    vcpu${vcpu}: ${kvmPageFault(vcpu, address)}
    vcpu${vcpu}: kvm_userspace_exit: reason error (14)
    vcpu${vcpu}: sys_ioctl -> 0xfffffffffffffff2`;
}
