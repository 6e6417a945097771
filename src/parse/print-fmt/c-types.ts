/** Widths and signs of the C types that print fmts cast to. */
export interface IntType {
  readonly bits: 8 | 16 | 32 | 64;
  readonly signed: boolean;
}

/** What a cast names: an integer type, or a pointer (`element` is what it points to, where that is an integer). */
export type CType =
  | { readonly kind: 'int'; readonly int: IntType }
  | { readonly kind: 'pointer'; readonly element: IntType | null }
  /** A typedef that is not known here: the value stays as it is. */
  | { readonly kind: 'opaque' };

const int = (bits: IntType['bits'], signed: boolean): IntType => ({ bits, signed });

export const U64 = int(64, false);
export const S64 = int(64, true);
export const U32 = int(32, false);
export const S32 = int(32, true);

const WORDS = new Set(['unsigned', 'signed', 'int', 'long', 'short', 'char', 'const', 'volatile', '__user', '__force']);

/** include/linux/types.h and the kvm, mm and block typedefs that tracepoints use; `long` stands for the kernel's long. */
const TYPEDEFS: Readonly<Record<string, IntType | 'long' | 'ulong'>> = {
  bool: int(8, false),
  _Bool: int(8, false),
  u8: int(8, false),
  s8: int(8, true),
  u16: int(16, false),
  s16: int(16, true),
  u32: U32,
  s32: S32,
  u64: U64,
  s64: S64,
  uint8_t: int(8, false),
  int8_t: int(8, true),
  uint16_t: int(16, false),
  int16_t: int(16, true),
  uint32_t: U32,
  int32_t: S32,
  uint64_t: U64,
  int64_t: S64,
  uint: U32,
  ulong: 'ulong',
  size_t: 'ulong',
  ssize_t: 'long',
  uintptr_t: 'ulong',
  ptrdiff_t: 'long',
  pid_t: S32,
  uid_t: U32,
  gid_t: U32,
  dev_t: U32,
  mode_t: U32,
  umode_t: int(16, false),
  fmode_t: U32,
  gfp_t: U32,
  vm_fault_t: U32,
  loff_t: S64,
  off_t: 'long',
  ino_t: 'ulong',
  sector_t: U64,
  blkcnt_t: U64,
  pgoff_t: 'ulong',
  gfn_t: U64,
  gpa_t: U64,
  gva_t: 'ulong',
  hpa_t: U64,
  hva_t: 'ulong',
  kvm_pfn_t: U64,
  phys_addr_t: U64,
  dma_addr_t: U64,
  resource_size_t: U64,
  ktime_t: S64,
};

/** Whether a word can begin or continue a type name. */
export function isTypeWord(word: string): boolean {
  return WORDS.has(word) || word === 'void' || lookup(word) !== undefined;
}

function lookup(word: string): IntType | 'long' | 'ulong' | undefined {
  const plain = word.replace(/^__(?=[usbl])/, '').replace(/^[bl]e(?=(16|32|64)$)/, 'u');
  return Object.hasOwn(TYPEDEFS, plain) ? TYPEDEFS[plain] : undefined;
}

/** The integer type that the words of a type name (`unsigned long`, `u8`, `const gfn_t`) mean; null where unknown. */
export function integerType(words: readonly string[], longBits: 32 | 64): IntType | null {
  for (const word of words) {
    const known = lookup(word);
    if (known === 'long' || known === 'ulong') return int(longBits, known === 'long');
    if (known) return known;
  }
  if (words.includes('enum')) return U32;
  if (words.some((word) => word === 'struct' || word === 'union' || word === 'void')) return null;
  const unsigned = words.includes('unsigned');
  if (words.includes('char')) return int(8, !unsigned);
  if (words.includes('short')) return int(16, !unsigned);
  const longs = words.filter((word) => word === 'long').length;
  if (longs >= 2) return int(64, !unsigned);
  if (longs === 1) return int(longBits, !unsigned);
  return unsigned || words.includes('int') || words.includes('signed') ? int(32, !unsigned) : null;
}

/** Cuts a value to a type, as a C conversion does. */
export function wrap(value: bigint, type: IntType): bigint {
  return type.signed ? BigInt.asIntN(type.bits, value) : BigInt.asUintN(type.bits, value);
}

/** The type of `a op b` after C's usual arithmetic conversions (C11 6.3.1.8). */
export function commonType(a: IntType, b: IntType): IntType {
  const left = promote(a);
  const right = promote(b);
  if (left.bits !== right.bits) return left.bits > right.bits ? left : right;
  return left.signed && right.signed ? left : int(left.bits, false);
}

/** Integer promotion: what is narrower than int becomes int. */
export function promote(type: IntType): IntType {
  return type.bits < 32 ? S32 : type;
}
