/** Numbers behind names that print fmts use without saying them, and names that only plugins use. */
type Entry = readonly [string, bigint];

/** enum pageflags of 6.16 to 7.3 (include/linux/page-flags.h); what comes after depends on the configuration. */
const PAGE_FLAGS = [
  'locked',
  'writeback',
  'referenced',
  'uptodate',
  'dirty',
  'lru',
  'head',
  'waiters',
  'active',
  'workingset',
  'owner_priv_1',
  'owner_2',
  'arch_1',
  'reserved',
  'private',
  'private_2',
  'reclaim',
  'swapbacked',
  'unevictable',
  'dropbehind',
  'mlocked',
];

export const CONSTANTS: ReadonlyMap<string, bigint> = new Map<string, bigint>([
  ...PAGE_FLAGS.map((name, bit): Entry => [`PG_${name}`, BigInt(bit)]),
  // include/vdso/clocksource.h, arch/x86/include/asm/vdso/clocksource.h
  ['VDSO_CLOCKMODE_NONE', 0n],
  ['VDSO_CLOCKMODE_TSC', 1n],
]);

/** arch/arm64/include/asm/kvm_hypevents.h: enum hyp_enter_exit_reason */
export const HYP_REASONS: readonly Entry[] = [
  ['smc', 0n],
  ['hvc', 1n],
  ['sys', 2n],
  ['psci', 3n],
  ['host_abort', 4n],
  ['guest_exit', 5n],
  ['eret_host', 6n],
  ['eret_guest', 7n],
  ['unknown', 8n],
];

/** Names of VMX exits in older kernels and in libtraceevent's plugin_kvm.c that newer kernels call otherwise. */
export const VMX_OTHER_NAMES: readonly Entry[] = [
  ['PENDING_INTERRUPT', 7n],
  ['INVALID_STATE', 33n],
];

const SVM_ROWS: readonly (readonly [number, string])[] = [
  [0x000, 'READ_CR0'],
  [0x003, 'READ_CR3'],
  [0x004, 'READ_CR4'],
  [0x008, 'READ_CR8'],
  [0x010, 'WRITE_CR0'],
  [0x013, 'WRITE_CR3'],
  [0x014, 'WRITE_CR4'],
  [0x018, 'WRITE_CR8'],
  ...Array.from({ length: 8 }, (_, k): [number, string] => [0x020 + k, `READ_DR${k}`]),
  ...Array.from({ length: 8 }, (_, k): [number, string] => [0x030 + k, `WRITE_DR${k}`]),
  [0x040, 'EXCP_BASE'],
  [0x060, 'INTR'],
  [0x061, 'NMI'],
  [0x062, 'SMI'],
  [0x063, 'INIT'],
  [0x064, 'VINTR'],
  [0x065, 'CR0_SEL_WRITE'],
  [0x066, 'IDTR_READ'],
  [0x067, 'GDTR_READ'],
  [0x068, 'LDTR_READ'],
  [0x069, 'TR_READ'],
  [0x06a, 'IDTR_WRITE'],
  [0x06b, 'GDTR_WRITE'],
  [0x06c, 'LDTR_WRITE'],
  [0x06d, 'TR_WRITE'],
  [0x06e, 'RDTSC'],
  [0x06f, 'RDPMC'],
  [0x070, 'PUSHF'],
  [0x071, 'POPF'],
  [0x072, 'CPUID'],
  [0x073, 'RSM'],
  [0x074, 'IRET'],
  [0x075, 'SWINT'],
  [0x076, 'INVD'],
  [0x077, 'PAUSE'],
  [0x078, 'HLT'],
  [0x079, 'INVLPG'],
  [0x07a, 'INVLPGA'],
  [0x07b, 'IOIO'],
  [0x07c, 'MSR'],
  [0x07d, 'TASK_SWITCH'],
  [0x07e, 'FERR_FREEZE'],
  [0x07f, 'SHUTDOWN'],
  [0x080, 'VMRUN'],
  [0x081, 'VMMCALL'],
  [0x082, 'VMLOAD'],
  [0x083, 'VMSAVE'],
  [0x084, 'STGI'],
  [0x085, 'CLGI'],
  [0x086, 'SKINIT'],
  [0x087, 'RDTSCP'],
  [0x088, 'ICEBP'],
  [0x089, 'WBINVD'],
  [0x08a, 'MONITOR'],
  [0x08b, 'MWAIT'],
  [0x08c, 'MWAIT_COND'],
  [0x400, 'NPF'],
];

/** libtraceevent plugins/plugin_kvm.c: SVM_EXIT_REASONS. */
export const SVM_PLUGIN_NAMES: readonly Entry[] = [
  ...SVM_ROWS.map(([value, name]): Entry => [`EXIT_${name}`, BigInt(value)]),
  ['EXIT_ERR', 0xffffffffn],
];
