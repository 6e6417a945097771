/**
 * `({ … trace_seq_printf(p, "…", role.level, …); saved_ptr; })` of the kvmmmu page events: the one statement expression
 * that can be evaluated, because the bit-fields of `union kvm_mmu_page_role` are known.
 */
import { S32, U32 } from './c-types.js';
import { splitFormat } from './conversion.js';
import type { Node, StatementBody } from './parser.js';
import { renderPieces } from './text.js';
import type { Compiled, CompiledInt, Context } from './value.js';

type CompileNode = (node: Node, context: Context) => Compiled;

/**
 * Bit-fields of `union kvm_mmu_page_role` (arch/x86/include/asm/kvm_host.h). `access` has grown from 3 to 4 bits with
 * the split of read and execute permissions; the size of the event's own access table tells which it is.
 */
function roleFields(accessBits: number): ReadonlyMap<string, { readonly shift: number; readonly bits: number }> {
  const order: readonly (readonly [string, number])[] = [
    ['level', 4],
    ['has_4_byte_gpte', 1],
    ['quadrant', 2],
    ['direct', 1],
    ['access', accessBits],
    ['invalid', 1],
    ['efer_nx', 1],
    ['cr0_wp', 1],
    ['smep_andnot_wp', 1],
    ['smap_andnot_wp', 1],
    ['ad_disabled', 1],
    ['guest_mode', 1],
    ['passthrough', 1],
  ];
  const fields = new Map<string, { shift: number; bits: number }>();
  let shift = 0;
  for (const [name, bits] of order) {
    fields.set(name, { shift, bits });
    shift += bits;
  }
  return fields;
}

/** Compiles a statement expression to the text it prints. */
export function compileStatement(body: StatementBody, context: Context, compile: CompileNode): Compiled {
  const access = body.tables.get('access_str');
  const fields = roleFields(access && access.length > 8 ? 4 : 3);
  const compileInner: CompileNode = (node, inner) => {
    if (node.k === 'member' && node.base.k === 'id') return bitField(node.base.name, node.name);
    if (node.k === 'index' && node.base.k === 'id') return tableEntry(node.base.name, node.index, inner);
    if (node.k !== 'cond') return compile(node, inner);
    const test = compileInner(node.test, inner);
    if (test.kind !== 'int' || !node.yes) return compile(node, inner);
    return choose(test, compileInner(node.yes, inner), compileInner(node.no, inner));
  };

  function bitField(variable: string, name: string): Compiled {
    const union = body.unions.get(variable);
    const field = fields.get(name);
    const word = union?.type === 'kvm_mmu_page_role' && field ? compile(union.word, context) : null;
    if (!field || word?.kind !== 'int') return { kind: 'unknown', why: `bit-field "${variable}.${name}"` };
    const shift = BigInt(field.shift);
    const mask = (1n << BigInt(field.bits)) - 1n;
    return { kind: 'int', type: U32, constant: null, eval: (get) => (word.eval(get) >> shift) & mask };
  }

  function tableEntry(name: string, index: Node, inner: Context): Compiled {
    const table = body.tables.get(name);
    const at = compileInner(index, inner);
    if (!table || at.kind !== 'int') return { kind: 'unknown', why: `table "${name}"` };
    return { kind: 'str', eval: (get) => table[Number(at.eval(get))] ?? '?' };
  }

  const rendered = renderPieces(
    splitFormat(body.format),
    body.args.map((arg) => compileInner(arg, context)),
    context,
  );
  // the kernel's trace_seq drops the NUL that the format's last %c puts
  if (rendered.kind === 'unknown') return rendered;
  return { kind: 'str', eval: (get) => rendered.eval(get).replaceAll('\0', '') };
}

function choose(test: CompiledInt, yes: Compiled, no: Compiled): Compiled {
  if (yes.kind === 'unknown') return yes;
  if (no.kind === 'unknown') return no;
  if (yes.kind === 'str' && no.kind === 'str') {
    return { kind: 'str', eval: (get) => (test.eval(get) !== 0n ? yes.eval(get) : no.eval(get)) };
  }
  if (yes.kind !== 'int' || no.kind !== 'int') return { kind: 'unknown', why: 'a choice of unlike values' };
  return { kind: 'int', type: S32, constant: null, eval: (get) => (test.eval(get) !== 0n ? yes : no).eval(get) };
}
