/** Probes of the recommended set (reference 05) as a capture script would define them, with what their formats look like. */
import type { EventFormat, RawField } from '../parse/event-format.js';
import { parseFieldLine } from '../parse/event-format.js';
import { isArmPlatform } from './options.js';
import type { Platform } from './options.js';

type ArgumentType = 'x64' | 'x32' | 'u64' | 'u32' | 's64' | 's32' | 's16';

export interface ProbeArgument {
  readonly name: string;
  readonly type: ArgumentType;
  /** How the argument is fetched, for the definition. */
  readonly fetch: string;
}

export interface Probe {
  readonly name: string;
  readonly fn: string;
  readonly isReturn: boolean;
  /** Module of the function; '' where it is built in. */
  readonly module: string;
  /** Who calls the function: what a return probe names as its return address. */
  readonly caller: string;
  readonly args: readonly ProbeArgument[];
  /** Address of the function (its own 4 KiB, as kallsyms says it). */
  readonly address: bigint;
}

/** How the kernel prints and stores each type (kernel/trace/trace_probe.c): C type, bytes, signed, conversion. */
const TYPES: Readonly<Record<ArgumentType, readonly [string, number, 0 | 1, string]>> = {
  x64: ['u64', 8, 0, '0x%Lx'],
  x32: ['u32', 4, 0, '0x%x'],
  u64: ['u64', 8, 0, '%Lu'],
  u32: ['u32', 4, 0, '%u'],
  s64: ['s64', 8, 1, '%Ld'],
  s32: ['s32', 4, 1, '%d'],
  s16: ['s16', 2, 1, '%d'],
};

/** `NAME FUNCTION MODULE CALLER: arg=fetch:type …`; `~` before a function means at its return. */
const COMMON = [
  'runenter kvm_arch_vcpu_ioctl_run kvm kvm_vcpu_ioctl: vcpu=%di:x64 vcpu_id=+36(%di):s32 kvm=+0(%di):x64 reason=+8(+96(%di)):x32 u0=+32(+96(%di)):x64 u1=+40(+96(%di)):x64 u2=+48(+96(%di)):x64 u3=+56(+96(%di)):x64 ret=+88(+96(%di)):x64',
  'create kvm_gmem_create kvm kvm_vm_ioctl: kvm=%di:x64 size=+0(%si):x64 flags=+8(%si):x64',
  'create_ret ~kvm_gmem_create kvm kvm_vm_ioctl: ret=$retval:s32',
  'bind kvm_gmem_prepare_memory_region kvm kvm_set_memory_region: kvm=%di:x64 slot=%si:x64 base_gfn=+176(%si):x64 npages=+184(%si):x64 id=+260(%si):s16 fd=%dx:u32 off=%cx:x64',
  'bindok ~kvm_gmem_commit_memory_region kvm kvm_set_memory_region: ret=$retval:s32',
  'falloc kvm_gmem_fallocate kvm vfs_fallocate: file=%di:x64 mode=%si:s32 off=%dx:s64 len=%cx:s64 ino=+64(+32(%di)):x64 kvm=+0(+24(%di)):x64',
  'falloc_ret ~kvm_gmem_fallocate kvm vfs_fallocate: ret=$retval:s64',
] as const;

const X86 = [
  'vmioctl kvm_vm_ioctl kvm __x64_sys_ioctl: filp=%di:x64 cmd=%si:x32 arg=%dx:x64 a0=+u0(%dx):x64 a1=+u8(%dx):x64 a2=+u16(%dx):x64 a3=+u24(%dx):x64 a4=+u32(%dx):x64 a5=+u40(%dx):x64',
  'vmioctl_ret ~kvm_vm_ioctl kvm __x64_sys_ioctl: ret=$retval:s64',
  'getpfn kvm_gmem_get_pfn kvm kvm_mmu_faultin_pfn: kvm=%di:x64 slot=%si:x64 gfn=%dx:x64 pgoff=+272(%si):x64 base=+176(%si):x64 file=+264(%si):x64',
  'preattr kvm_arch_pre_set_memory_attributes kvm kvm_vm_ioctl: kvm=%di:x64 slot=+0(%si):x64 start=+8(%si):x64 end=+16(%si):x64 attr=+24(%si):x64',
] as const;

const TDX = [
  'mapgpa __tdx_map_gpa kvm_intel tdx_handle_exit: tdx=%di:x64 next=+6128(%di):x64 end=+6136(%di):x64 vcpu_id=+36(%di):s32',
  'mapgpa_done tdx_complete_vmcall_map_gpa kvm_intel kvm_arch_vcpu_ioctl_run: vcpu=%di:x64 ret=+88(+96(%di)):x64 next=+6128(%di):x64',
  'sept tdx_sept_set_private_spte kvm_intel __handle_changed_spte: kvm=%di:x64 gfn=%si:x64 old=%dx:x64 new=%cx:x64 level=%r8:x64',
  'sept_ret ~tdx_sept_set_private_spte kvm_intel __handle_changed_spte: ret=$retval:s32',
] as const;

const SNP = [
  'psc snp_do_psc kvm_amd sev_handle_vmgexit: svm=%di:x64',
  'psc_done snp_complete_psc kvm_amd kvm_arch_vcpu_ioctl_run: svm=%di:x64 ret=%si:x64',
  'mkpriv sev_gmem_make_private kvm_amd kvm_gmem_get_pfn: kvm=%di:x64 gfn=%si:x64 pfn=%dx:x64 n=%cx:x64',
  'mkshared sev_gmem_make_shared kvm_amd kvm_gmem_free_folio: pfn=%di:x64 n=%si:x64',
] as const;

const GMEM_ATTRIBUTES = [
  'set_attrs_ioctl kvm_gmem_set_attributes kvm kvm_gmem_ioctl: file=%di:x64 ino=+64(+32(%di)):u64 offset=+u0(%si):x64 size=+u8(%si):x64 attributes=+u16(%si):x64',
  'set_attrs_ret ~__kvm_gmem_set_attributes kvm kvm_gmem_set_attributes: ino=inode->i_ino:u64 start=start:u64 nr_pages=nr_pages:u64 attrs=attrs:u64 ret=$retval:s32 err_index=+0(err_index):u64',
  'set_attrs_ioctl_ret ~kvm_gmem_set_attributes kvm kvm_gmem_ioctl: ret=$retval:s64',
] as const;

const GMEM_CONVERT = [
  'gmioctl kvm_gmem_ioctl kvm __x64_sys_ioctl: file=%di:x64 cmd=%si:x32 arg=%dx:x64 a0=+u0(%dx):x64 a1=+u8(%dx):x64 a2=+u16(%dx):x64 ino=+64(+32(%di)):u64',
  'gmioctl_ret ~kvm_gmem_ioctl kvm __x64_sys_ioctl: ret=$retval:s64 error_offset=+u16($arg3):x64',
] as const;

const HOST_FAULTS = [
  'hfault kvm_gmem_fault_user_mapping kvm __do_fault: vmf=%di:x64 pgoff=+16(%di):x64 addr=+24(%di):x64',
  'hfault_ret ~kvm_gmem_fault_user_mapping kvm __do_fault: ret=$retval:x32',
] as const;

/** The probes of a host of this platform. */
export function probesOf(platform: Platform, mechanism: string): Probe[] {
  const isArm = isArmPlatform(platform);
  const isInPlace = mechanism !== 'vm-attributes';
  const lines = [
    ...COMMON,
    ...(isArm ? [] : X86),
    ...(platform === 'tdx' ? TDX : []),
    ...(platform === 'snp' ? SNP : []),
    ...(mechanism === 'gmem-attributes' ? GMEM_ATTRIBUTES : []),
    ...(mechanism === 'gmem-convert' ? GMEM_CONVERT : []),
    ...(isInPlace ? HOST_FAULTS : []),
  ];
  return lines.map((line, index) => parseProbe(line, index, isArm));
}

function parseProbe(line: string, index: number, isArm: boolean): Probe {
  const [head, tail] = line.split(': ') as [string, string];
  const [name, fn, module, caller] = head.split(' ') as [string, string, string, string];
  const args = tail.split(' ').map((text) => {
    const [, argument, fetch, type] = /^(\w+)=(.*):(\w+)$/.exec(text)!;
    return { name: argument!, fetch: isArm ? armFetch(fetch!) : fetch!, type: type as ArgumentType };
  });
  const base = isArm ? 0xffff800080100000n : 0xffffffffc0a00000n;
  return {
    name,
    fn: fn.replace('~', ''),
    isReturn: fn.startsWith('~'),
    module: isArm ? '' : module,
    caller: isArm ? caller.replace('__x64_', '__arm64_') : caller,
    args,
    address: base + BigInt(index) * 0x2000n,
  };
}

const ARM_REGISTERS = ['%di', '%si', '%dx', '%cx', '%r8'];

function armFetch(fetch: string): string {
  return ARM_REGISTERS.reduce((text, register, index) => text.replaceAll(register, `%x${index}`), fetch);
}

/** Lines as in `kprobe_events`, one a probe. */
export function writeProbeDefinitions(probes: readonly Probe[]): string {
  return probes
    .map(({ name, fn, isReturn, args }) => {
      const fetches = args.map((arg) => `${arg.name}=${arg.fetch}:${arg.type}`);
      return `${isReturn ? 'r' : 'p'}:gm/${name} ${fn} ${fetches.join(' ')}\n`;
    })
    .join('');
}

/** The `format` that the kernel makes of a probe: its addresses, then the arguments one behind the other, unaligned. */
export function probeFormat(probe: Probe): EventFormat {
  const addresses = probe.isReturn ? ['__probe_func', '__probe_ret_ip'] : ['__probe_ip'];
  const fields: RawField[] = [];
  let offset = 8;
  const add = (cType: string, name: string, size: number, signed: number): void => {
    fields.push(parseFieldLine(`field:${cType} ${name};\toffset:${offset};\tsize:${size};\tsigned:${signed};`)!);
    offset += size;
  };
  for (const name of addresses) add('unsigned long', name, 8, 0);
  for (const { name, type } of probe.args) add(TYPES[type][0], name, TYPES[type][1], TYPES[type][2]);
  const place = probe.isReturn ? '(%lx <- %lx)' : '(%lx)';
  const text = [place, ...probe.args.map(({ name, type }) => `${name}=${TYPES[type][3]}`)].join(' ');
  const operands = fields.map(({ name }) => `REC->${name}`).join(', ');
  return {
    system: 'gm',
    name: probe.name,
    id: -1,
    commonFields: [],
    fields,
    printFmt: `"${text}", ${operands}`,
    text: '',
  };
}
