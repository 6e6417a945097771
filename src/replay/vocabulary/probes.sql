-- platform: any
-- Probes, recognised by the function they sit on (reference chapter 05). `a|b` are names one argument goes by.

SELECT 'vm_attr_call' AS kind, kvm AS vm_key, address AS address, size AS size, attributes AS value, pid AS extra
FROM {probe kvm_vm_ioctl_set_mem_attributes: kvm, pid?, address, size, attributes};

SELECT 'vm_attr_call' AS kind, kvm AS vm_key, pages("start") AS address, pages("end") - pages("start") AS size,
  attributes AS value, pid AS extra
FROM {probe kvm_vm_set_mem_attributes: kvm, pid?, start, end, attributes|attrs};

-- Any ioctl on a VM with the words of its argument (struct kvm_memory_attributes; kvm_userspace_memory_region2 with
-- KVM_MEM_GUEST_MEMFD, bit 2 of its flags; kvm_create_guest_memfd): kernels before 7.2 have no tracepoint for these.
SELECT 'vm_attr_call' AS kind, a0 AS address, a1 AS size, a2 AS value
FROM {probe kvm_vm_ioctl: cmd|ioctl, a0, a1, a2}
WHERE cmd = 1075883730;

SELECT 'vm_attr_ret' AS kind, ret AS result
FROM {retprobe kvm_vm_ioctl: ret};

SELECT 'bind' AS kind, TRY_CAST(a0 AS HUGEINT) & 4294967295::HUGEINT AS extra, a1 AS address, a2 AS size, a4 AS value,
  TRY_CAST(a5 AS HUGEINT) & 4294967295::HUGEINT AS fd
FROM {probe kvm_vm_ioctl: cmd|ioctl, a0, a1, a2, a4, a5}
WHERE cmd = 1084272201 AND (TRY_CAST(a0 AS HUGEINT) >> 34) & 1::HUGEINT = 1;

SELECT 'gmem_create' AS kind, a0 AS size, a1 AS value
FROM {probe kvm_vm_ioctl: cmd|ioctl, a0, a1}
WHERE cmd = 3225464532;

-- The flip itself, once for each memslot touched: names the VM where nothing else does.
SELECT 'vcpu_identity' AS kind, kvm AS vm_key
FROM {probe kvm_arch_pre_set_memory_attributes: kvm};

SELECT 'vm_attr_ret' AS kind, ret AS result
FROM {retprobe kvm_vm_set_mem_attributes: ret};

SELECT 'gmem_attr_call' AS kind, ino AS inode, pages("start") AS address, pages(nr_pages) AS size, attrs AS value
FROM {probe __kvm_gmem_set_attributes: ino, start, nr_pages, attrs};

SELECT 'gmem_attr_call' AS kind, ino AS inode, "offset" AS address, size AS size, attributes AS value
FROM {probe kvm_gmem_set_attributes: ino, offset, size, attributes};

SELECT 'gmem_attr_ret' AS kind, ino AS inode, pages("start") AS address, pages(nr_pages) AS size, attrs AS value,
  ret AS result, CASE WHEN ret = 0 THEN NULL ELSE pages(err_index) END AS extra
FROM {retprobe __kvm_gmem_set_attributes: ino, start?, nr_pages?, attrs?, ret, err_index?};

-- The ioctl on a guest_memfd with its argument's words, where the functions inside are inlined away: the in-place series'
-- (offset, size, attributes) and RFC v2's two (offset, size).
SELECT 'gmem_attr_call' AS kind, ino AS inode, a0 AS address, a1 AS size,
  CASE cmd WHEN 3225464641 THEN 0 WHEN 3225464642 THEN 8 ELSE a2 END AS value
FROM {probe kvm_gmem_ioctl: ino|inode, cmd|ioctl, a0, a1, a2?}
WHERE cmd IN (3225464641, 3225464642, 3229658834, 3225464534);

SELECT 'gmem_attr_ret' AS kind, ret AS result, CASE WHEN ret = 0 THEN NULL ELSE error_offset END AS extra
FROM {retprobe kvm_gmem_ioctl: ret, error_offset?};

SELECT 'punch_call' AS kind, ino AS inode, mode AS value, "offset" AS address, len AS size
FROM {probe kvm_gmem_fallocate: ino, mode, offset|off, len};

SELECT 'punch_ret' AS kind, ret AS result
FROM {retprobe kvm_gmem_fallocate: ret};

SELECT 'gmem_create' AS kind, kvm AS vm_key, size AS size, flags AS value, pid AS extra
FROM {probe kvm_gmem_create: kvm, size, flags, pid?};

SELECT 'bind' AS kind, kvm AS vm_key, coalesce(id, slot) AS extra, pages(base_gfn) AS address, pages(npages) AS size,
  fd AS fd, "offset" AS value
FROM {probe kvm_gmem_prepare_memory_region: kvm, id?, slot?, base_gfn|gfn|base, npages|n, fd, offset|off};

SELECT 'bind' AS kind, kvm AS vm_key, coalesce(id, slot) AS extra, pages(base_gfn) AS address, pages(npages) AS size,
  fd AS fd, "offset" AS value
FROM {probe kvm_gmem_bind: kvm, id?, slot?, base_gfn|gfn|base, npages|n, fd, offset|off};

SELECT 'bind_done' AS kind, kvm AS vm_key, slot AS extra, pages(base_gfn) AS address, pages(npages) AS size,
  pages(pgoff) AS value, ino AS inode
FROM {probe kvm_gmem_commit_memory_region: kvm, slot?, base_gfn, npages, pgoff, ino};

SELECT 'bind_ret' AS kind, ret AS result
FROM {retprobe kvm_gmem_commit_memory_region: ret};

SELECT 'unbind' AS kind, pages(base_gfn) AS address, pages(npages) AS size
FROM {probe kvm_gmem_unbind: base_gfn|base, npages|n};

SELECT 'gmem_release' AS kind, ino AS inode
FROM {probe kvm_gmem_release: ino};

SELECT 'get_pfn' AS kind, kvm AS vm_key, pages(gfn) AS address, pages(gfn) - pages(base_gfn) + pages(pgoff) AS value
FROM {probe kvm_gmem_get_pfn: kvm, gfn, base_gfn|base?, pgoff?};

SELECT 'pfn_found' AS kind, pages(gfn) AS address, pfn AS value, ret AS result
FROM {retprobe kvm_gmem_get_pfn: gfn, pfn, ret};

SELECT 'get_folio' AS kind, ino AS inode, pages("index") AS address
FROM {probe kvm_gmem_get_folio: ino, index};

SELECT 'hypercall_done' AS kind, vcpu AS vcpu, ret AS result
FROM {probe complete_hypercall_exit: vcpu, ret};

-- Each chunk of a MapGPA, and the whole of a page state change: what the VMM, or KVM, answered.
SELECT 'hypercall_done' AS kind, ret AS result
FROM {probe tdx_complete_vmcall_map_gpa: ret};

SELECT 'hypercall_done' AS kind, ret AS result
FROM {probe snp_complete_psc: ret};

SELECT 'run_enter' AS kind, kvm AS vm_key, vcpu_id AS vcpu, reason AS value, u1 AS address, u2 AS size, u0 AS extra,
  u3 AS fd, ret AS result
FROM {probe kvm_arch_vcpu_ioctl_run: kvm, vcpu_id, reason, u0?, u1?, u2?, u3?, ret?};

SELECT 'map_gpa' AS kind, vcpu_id AS vcpu, "next" AS address, TRY_CAST("end" AS DOUBLE) - TRY_CAST("next" AS DOUBLE) AS size
FROM {probe __tdx_map_gpa: vcpu_id, next, end};

SELECT 'gmem_fault' AS kind, ino AS inode, pages(pgoff) AS address
FROM {probe kvm_gmem_fault_user_mapping: ino, pgoff};

SELECT 'gmem_fault_ret' AS kind, ret AS result
FROM {retprobe kvm_gmem_fault_user_mapping: ret};
