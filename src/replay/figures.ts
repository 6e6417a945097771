/** Figures: what a recording can tell only where certain tracepoints or probes are in it. Rules name those they need. */

/** Something that a recording can or cannot tell. */
export interface Figure {
  readonly what: string;
  /** It can be given when one of these sources is there. */
  readonly sources: readonly string[];
  readonly missing: string;
  readonly record: string;
}

export const FIGURES: readonly Figure[] = [
  {
    what: 'conversions',
    sources: [
      'event kvm.kvm_userspace_exit',
      'event kvm.kvm_vm_set_mem_attributes',
      'event kvm.kvm_hypercall',
      'event syscalls.sys_enter_ioctl',
      'probe kvm_vm_ioctl_set_mem_attributes',
      'probe kvm_vm_set_mem_attributes',
      'probe __kvm_gmem_set_attributes',
      'probe kvm_gmem_set_attributes',
      'event hypervisor.lab_guest_share_host',
      'event hypervisor.lab_guest_hvc',
    ],
    missing: 'no exits to userspace, no attribute changes, no ioctls',
    record: '-e kvm:kvm_userspace_exit -e kvm:kvm_vm_set_mem_attributes -e syscalls:sys_enter_ioctl',
  },
  {
    what: 'memory_faults',
    sources: ['event kvm.kvm_userspace_exit'],
    missing: 'no kvm:kvm_userspace_exit',
    record: '-e kvm:kvm_userspace_exit -e kvm:kvm_page_fault',
  },
  {
    what: 'punches',
    sources: ['event syscalls.sys_enter_fallocate', 'probe kvm_gmem_fallocate'],
    missing: 'no fallocate system calls, no probe on kvm_gmem_fallocate',
    record: '-e syscalls:sys_enter_fallocate -e syscalls:sys_exit_fallocate',
  },
  {
    what: 'references',
    sources: ['event page_ref.page_ref_mod', 'event page_ref.page_ref_mod_unless'],
    missing: 'no page_ref events',
    record: '-e page_ref (filtered by the mapping of the guest_memfd; needs CONFIG_DEBUG_PAGE_REF)',
  },
  {
    what: 'dma',
    sources: ['event iommu.map'],
    missing: 'no iommu events',
    record: '-e iommu:map -e iommu:unmap',
  },
  {
    what: 'attempts',
    sources: [
      'event syscalls.sys_exit_ioctl',
      'retprobe __kvm_gmem_set_attributes',
      'retprobe kvm_vm_set_mem_attributes',
    ],
    missing: 'no results of ioctls',
    record: '-e syscalls:sys_enter_ioctl -e syscalls:sys_exit_ioctl',
  },
  {
    what: 'page-cache',
    sources: ['event filemap.mm_filemap_add_to_page_cache'],
    missing: 'no page cache events',
    record: '-e filemap:mm_filemap_add_to_page_cache -e filemap:mm_filemap_delete_from_page_cache',
  },
  {
    what: 'discards',
    sources: [
      'event filemap.mm_filemap_delete_from_page_cache',
      'event syscalls.sys_enter_fallocate',
      'probe kvm_gmem_fallocate',
    ],
    missing: 'nothing that shows memory being freed',
    record: '-e filemap:mm_filemap_delete_from_page_cache -e syscalls:sys_enter_fallocate',
  },
  {
    what: 'spte',
    sources: ['event kvmmmu.kvm_mmu_spte_requested'],
    missing: 'no kvmmmu:kvm_mmu_spte_requested',
    record: '-e kvmmmu:kvm_mmu_spte_requested -e kvmmmu:kvm_mmu_set_spte -e kvm:kvm_page_fault',
  },
  {
    what: 'host-faults',
    sources: ['event exceptions.page_fault_user', 'probe kvm_gmem_fault_user_mapping'],
    missing: 'no faults of the host on guest memory',
    record: '-e exceptions:page_fault_user, or a probe on kvm_gmem_fault_user_mapping (ino, pgoff)',
  },
  {
    what: 'bindings',
    sources: ['probe kvm_gmem_prepare_memory_region', 'probe kvm_gmem_commit_memory_region', 'probe kvm_gmem_bind'],
    missing: 'no probe on the binding of guest_memfds to memslots',
    record: 'probes on kvm_gmem_prepare_memory_region and kvm_gmem_commit_memory_region',
  },
  {
    what: 'reboots',
    sources: ['event syscalls.sys_enter_ioctl', 'event kvm.kvm_track_tsc', 'event kvm.kvm_hvc_arm64'],
    missing: 'no ioctl system calls, and no vCPU was made in it',
    record: '-e syscalls:sys_enter_ioctl, or -e kvm from before the VM starts',
  },
];

/** What nobody can know of a protected guest under pKVM unless the hypervisor's own events name the pages. */
export const PKVM_CONVERSIONS = 'pkvm-conversions';

/** Every name that `-- needs:` of a rule may list. */
export const FIGURE_NAMES: readonly string[] = [...FIGURES.map((figure) => figure.what), PKVM_CONVERSIONS];
