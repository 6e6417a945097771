/**
 * Which function a probe sits on, where the trace does not say: perf.data and the texts of trace-cmd report and perf
 * script hold raw addresses without symbols. Then the probe's own name decides if it holds the function's name, else
 * the names of its arguments: each signature below is what only that function's probe would fetch (reference chapter 05).
 */
interface Signature {
  readonly fn: string;
  readonly isReturn: boolean;
  /** Arguments that must all be there. */
  readonly args: readonly string[];
  /** Names that people give this probe, as regular expression on the event name; null: the arguments suffice. */
  readonly name: RegExp | null;
}

const SIGNATURES: readonly Signature[] = [
  { fn: '__kvm_gmem_set_attributes', isReturn: true, args: ['ret', 'err_index'], name: null },
  { fn: '__kvm_gmem_set_attributes', isReturn: false, args: ['ino', 'start', 'nr_pages', 'attrs'], name: null },
  { fn: 'kvm_gmem_set_attributes', isReturn: false, args: ['ino', 'offset', 'size', 'attributes'], name: null },
  { fn: 'kvm_gmem_ioctl', isReturn: false, args: ['ino', 'cmd', 'a0', 'a1'], name: null },
  { fn: 'kvm_gmem_ioctl', isReturn: true, args: ['ret', 'error_offset'], name: null },
  {
    fn: 'kvm_vm_ioctl_set_mem_attributes',
    isReturn: false,
    args: ['kvm', 'address', 'size', 'attributes'],
    name: null,
  },
  {
    fn: 'kvm_arch_pre_set_memory_attributes',
    isReturn: false,
    args: ['kvm', 'start', 'end', 'slot'],
    name: /pre.*attr/,
  },
  {
    fn: 'kvm_arch_post_set_memory_attributes',
    isReturn: false,
    args: ['kvm', 'start', 'end', 'slot'],
    name: /post.*attr/,
  },
  { fn: 'kvm_vm_set_mem_attributes', isReturn: false, args: ['kvm', 'start', 'end', 'attributes'], name: /set.*attr/ },
  { fn: 'kvm_vm_set_mem_attributes', isReturn: true, args: ['ret'], name: /vm_set_(mem_)?attr.*ret/ },
  { fn: 'kvm_vm_ioctl_set_mem_attributes', isReturn: true, args: ['ret'], name: /ioctl_set_(mem_)?attr.*ret/ },
  { fn: 'kvm_gmem_fallocate', isReturn: false, args: ['mode', 'len'], name: null },
  { fn: 'kvm_gmem_fallocate', isReturn: true, args: ['ret'], name: /falloc.*ret/ },
  { fn: 'kvm_gmem_commit_memory_region', isReturn: false, args: ['base_gfn', 'npages', 'pgoff', 'ino'], name: null },
  { fn: 'kvm_gmem_commit_memory_region', isReturn: true, args: ['ret'], name: /bind/ },
  { fn: 'kvm_gmem_prepare_memory_region', isReturn: false, args: ['kvm', 'npages', 'fd'], name: /bind|prepare/ },
  { fn: 'kvm_gmem_unbind', isReturn: false, args: ['base_gfn', 'npages'], name: /unbind/ },
  { fn: 'kvm_gmem_create', isReturn: false, args: ['size', 'flags'], name: /create/ },
  { fn: 'kvm_gmem_create', isReturn: true, args: ['fd'], name: /create.*ret/ },
  { fn: 'kvm_gmem_get_pfn', isReturn: true, args: ['gfn', 'pfn', 'ret'], name: null },
  { fn: 'kvm_gmem_get_pfn', isReturn: false, args: ['kvm', 'slot', 'gfn'], name: /get_?pfn/ },
  { fn: 'kvm_gmem_get_folio', isReturn: false, args: ['ino', 'index'], name: /folio/ },
  { fn: 'kvm_gmem_release', isReturn: false, args: ['ino'], name: /release/ },
  { fn: 'complete_hypercall_exit', isReturn: false, args: ['vcpu', 'ret'], name: /hypercall/ },
  { fn: 'kvm_arch_vcpu_ioctl_run', isReturn: false, args: ['vcpu_id', 'reason'], name: null },
  { fn: 'pkvm_create_hyp_vm', isReturn: false, args: ['kvm', 'handle', 'protected'], name: null },
  { fn: 'pkvm_create_hyp_vcpu', isReturn: false, args: ['vcpu', 'kvm', 'vcpu_id', 'handle'], name: /hyp_vcpu/ },
  { fn: 'pkvm_destroy_hyp_vm', isReturn: false, args: ['kvm', 'handle'], name: /destroy/ },
  { fn: 'pkvm_pgtable_stage2_map', isReturn: false, args: ['ipa', 'size', 'phys', 'handle'], name: null },
  { fn: 'pkvm_pgtable_stage2_map', isReturn: true, args: ['ret'], name: /(s2|stage2)_map/ },
  { fn: 'kvm_handle_guest_abort', isReturn: false, args: ['kvm', 'vcpu_id', 'hpfar'], name: null },
  { fn: 'kvm_arch_prepare_memory_region', isReturn: false, args: ['kvm', 'change', 'npages', 'hva'], name: null },
  { fn: 'pkvm_force_reclaim_guest_page', isReturn: false, args: ['phys'], name: /reclaim/ },
  { fn: 'pkvm_force_reclaim_guest_page', isReturn: true, args: ['ret'], name: /force.*reclaim|reclaim.*page/ },
  { fn: 'arm64_force_sig_fault', isReturn: false, args: ['signo', 'code', 'far'], name: null },
  { fn: 'kvm_smccc_call_handler', isReturn: false, args: ['func', 'a1'], name: null },
  { fn: 'kvm_psci_call', isReturn: false, args: ['vcpu', 'func'], name: /psci/ },
  { fn: '__tdx_map_gpa', isReturn: false, args: ['vcpu_id', 'next', 'end'], name: null },
  { fn: 'tdx_complete_vmcall_map_gpa', isReturn: false, args: ['ret', 'next'], name: /map_?gpa/ },
  { fn: 'snp_complete_psc', isReturn: false, args: ['svm', 'ret'], name: /psc/ },
  { fn: 'kvm_prepare_system_event', isReturn: false, args: ['vcpu', 'type'], name: /sys/ },
];

/** Functions that the vocabulary asks for: a probe named after one of them needs no signature. */
const FUNCTIONS = [...new Set(SIGNATURES.map((s) => s.fn))].sort((a, b) => b.length - a.length);

/**
 * The function a probe most likely sits on, or null. `args` are its fetch-argument names; `isReturn` as the trace says.
 */
export function guessProbeFunction(name: string, args: readonly string[], isReturn: boolean): string | null {
  const named = FUNCTIONS.find((fn) => name.includes(fn));
  if (named !== undefined) return named;
  const has = new Set(args);
  const match = SIGNATURES.find(
    (s) => s.isReturn === isReturn && s.args.every((arg) => has.has(arg)) && (s.name === null || s.name.test(name)),
  );
  return match?.fn ?? null;
}
