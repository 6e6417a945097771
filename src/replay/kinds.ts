/**
 * Memory events: the uniform stream that the replay reads. Vocabulary SQL (vocabulary/*.sql) says which tracepoint or
 * probe becomes which kind; here is what each kind means and which columns it fills. A kind says what was seen, not
 * what follows from it.
 */
export const KINDS = [
  'guest_exit', // vCPU left the guest: vcpu, value = exit reason (arm64: exception class of a trap), extra = isa, result = arm64's return code
  'guest_entry', // vCPU enters the guest: vcpu, address = rip / pc
  'hypercall', // KVM_HC_*: value = nr, address = a0, size = a1 pages in bytes, extra = a2
  'vmgexit', // SNP GHCB exit: vcpu, value = exit code
  'vmgexit_msr', // SNP MSR protocol request: vcpu, value = ghcb_gpa
  'hvc', // arm64 HVC that reached the host: value = SMCCC function id, address = first argument
  'guest_fault', // stage-2 fault: vcpu, address (with the shared bit, if any), value = error code
  'user_exit', // KVM_RUN returns to userspace: value = reason or NULL, result = errno (negative) or NULL
  'run_enter', // probe at KVM_RUN's start: vm_key, vcpu, value = reason of the last exit, result = hypercall.ret; extra, address, size, fd = the first four words of that exit's data
  'hypercall_done', // probe at completion: vcpu, result = what the guest gets
  'ioctl_enter', // fd, value = cmd, extra = arg
  'ioctl_exit', // result
  'fd_close', // fd
  'fallocate_enter', // fd, value = mode, address = offset, size
  'fallocate_exit', // result
  'discard_enter', // madvise: address = hva, size, value = advice
  'attr_event', // tracepoint kvm_vm_set_mem_attributes: address = gpa, size, value = attributes
  'vm_attr_call', // probe on the VM attributes ioctl: vm_key, address = gpa, size, value = attributes, extra = pid
  'vm_attr_ret', // result
  'gmem_attr_call', // probe on the guest_memfd attributes ioctl: inode, address = offset, size, value = attributes
  'gmem_attr_ret', // inode, address = offset, size, value, result, extra = error_offset
  'map_gpa', // probe on TDX MapGPA: vcpu, address = gpa with the shared bit, size, vm_key
  'punch_call', // probe on kvm_gmem_fallocate: inode, value = mode, address = offset, size
  'punch_ret', // result
  'gmem_create', // vm_key, size, value = flags, extra = pid
  'bind', // vm_key, extra = slot, address = gpa, size, fd, value = offset
  'bind_done', // vm_key, extra = slot, address = gpa, size, value = offset, inode
  'slot_set', // memslot change (arm64 probe): vm_key, extra = slot, address = gpa, size, value = hva
  'unbind', // vm_key, address = gpa, size
  'gmem_release', // inode
  'get_pfn', // vm_key, address = gpa
  'pfn_found', // kvm_gmem_get_pfn returned: address = gpa, value = pfn, result
  'get_folio', // inode, address = offset
  'page_add', // page cache: inode, extra = dev, address = offset, value = pfn
  'page_delete', // the same
  'page_ref', // value = pfn, result = change, extra = count after it
  'spte_requested', // address = gpa, value = pfn
  'spte_set', // address = gpa, value = pfn
  'dma_map', // address = iova, size, value = paddr
  'dma_unmap', // address = iova, size
  'hva_unmap', // address = hva, size
  'switch_out', // tid = prev_pid, value = 1 runnable, 2 sleeping, 3 dead, 4 in uninterruptible sleep
  'switch_in', // tid = next_pid
  'task_exit', // tid is gone
  'task_new', // tid = the new thread, value = clone_flags, extra = tid of the one that made it
  'pio_write', // value = port, extra = value written
  'system_reset', // PSCI reset: vcpu, value = function
  'vm_create', // pKVM: vm_key = struct kvm, extra = handle, value = protected
  'vm_destroy', // vm_key = struct kvm, extra = handle
  'donate', // stage-2 map of a protected guest: extra = handle, address = ipa, size, value = phys
  'donate_ret', // result
  'host_reclaim', // the host kernel asks for a guest page back that it touched: value = phys
  'host_reclaim_ret', // result: 1 = the page is the host's now
  'mmap_enter', // fd, size, value = offset
  'mmap_exit', // result = address
  'host_fault', // a fault of the host in userspace: address = hva
  'gmem_fault', // probe on the guest_memfd's handler of host faults: inode, address = offset
  'gmem_fault_ret', // result = VM_FAULT_*
  'host_signal', // a thread gets a fault signal: result = signal, value = code, address = hva
  'hyp_enter', // EL2: value = reason (pkvm-exits.ts), extra = tid of the vCPU, 0 = none
  'hyp_exit', // the same
  'hyp_share', // EL2 event: extra = handle, vcpu, address = ipa, size, value = phys, result
  'hyp_unshare', // the same
  'hyp_donate', // the same
  'hyp_reclaim', // the same
  'hyp_force_reclaim', // the same
  'hyp_hvc', // extra = handle, vcpu, value = function, address = first argument, size = handled, result
  'host_abort', // EL2 refused the host an access: value = physical address, result
  'hyp_vm', // extra = handle, value = 0 created, 1 teardown starts, 2 teardown ends, address = protected, result
  'mmio', // address = gpa, value, extra = 1 write
  'bind_ret', // the commit of a binding returns: result
  'vcpu_online', // a vCPU is made: vcpu
  'vcpu_identity', // any probe that names both: vm_key, vcpu
] as const;

export type Kind = (typeof KINDS)[number];

/** Code of each kind in the column `kind` (its place in the list). */
export const KIND = Object.fromEntries(KINDS.map((name, code) => [name, code])) as Readonly<Record<Kind, number>>;

/** Columns that a SELECT of the vocabulary may fill beside kind, trace_id, ts_ns, cpu, tid and seq; else NULL. */
export const PAYLOAD_COLUMNS = [
  'vm_key',
  'vcpu',
  'inode',
  'fd',
  'address',
  'size',
  'value',
  'extra',
  'result',
] as const;

/** Name of the DuckDB macro that masks a kernel pointer to 48 bits, which a float64 holds exactly. */
export const POINTER_MASK = 281_474_976_710_655;
