-- platform: pkvm
-- arm64 under pKVM (reference chapters 02 §8 and 05). Host probes name the hypervisor's VM by its handle; the
-- hypervisor's own buffer (tracefs remotes/hypervisor) names the vCPU's thread. Upstream kernels print hyp_enter and
-- hyp_exit only; host_hcall and the events that name pages and calls exist in kernels that add them.

-- Called again for each vCPU that runs first.
SELECT 'vm_create' AS kind, kvm AS vm_key, handle AS extra, protected AS value
FROM {probe pkvm_create_hyp_vm: kvm, handle, protected?};

SELECT 'vm_destroy' AS kind, kvm AS vm_key, handle AS extra
FROM {probe pkvm_destroy_hyp_vm: kvm, handle};

SELECT 'vcpu_identity' AS kind, kvm AS vm_key, vcpu_id AS vcpu
FROM {probe kvm_handle_guest_abort: kvm, vcpu_id};

SELECT 'vcpu_identity' AS kind, kvm AS vm_key, vcpu_id AS vcpu
FROM {probe pkvm_create_hyp_vcpu: kvm, vcpu_id};

SELECT 'donate' AS kind, handle AS extra, ipa AS address, size AS size, phys AS value
FROM {probe pkvm_pgtable_stage2_map: ipa, size, phys, handle};

SELECT 'donate_ret' AS kind, ret AS result
FROM {retprobe pkvm_pgtable_stage2_map: ret};

-- KVM_MR_DELETE (1) has no new slot to read.
SELECT 'slot_set' AS kind, kvm AS vm_key, id AS extra, pages(gfn) AS address, pages(npages) AS size, hva AS value
FROM {probe kvm_arch_prepare_memory_region: kvm, change, gfn|base_gfn, npages, hva, id?}
WHERE change <> 1;

SELECT 'host_reclaim' AS kind, phys AS value
FROM {probe pkvm_force_reclaim_guest_page: phys};

SELECT 'host_reclaim_ret' AS kind, ret AS result
FROM {retprobe pkvm_force_reclaim_guest_page: ret};

SELECT 'host_signal' AS kind, signo AS result, code AS value, far AS address
FROM {probe arm64_force_sig_fault: signo, code, far}
WHERE signo = 11 AND code = 2;

SELECT 'host_signal' AS kind, pid AS tid, sig AS result, code AS value
FROM {event signal.signal_generate: sig, code, pid}
WHERE sig = 11 AND code = 2;

SELECT 'hvc' AS kind, vcpu_id AS vcpu, func AS value, a1 AS address
FROM {probe kvm_smccc_call_handler: vcpu_id?, func, a1};

SELECT 'system_reset' AS kind, vcpu_id AS vcpu, func AS value
FROM {probe kvm_psci_call: vcpu_id?, func};

-- KVM_SYSTEM_EVENT_RESET and _SHUTDOWN (include/uapi/linux/kvm.h), as the PSCI calls that lead to them.
SELECT 'system_reset' AS kind, CASE type WHEN 2 THEN 2214592521 ELSE 2214592520 END AS value
FROM {probe kvm_prepare_system_event: type}
WHERE type IN (1, 2);

SELECT 'hyp_enter' AS kind, reason AS value, vcpu AS extra
FROM {event hypervisor.hyp_enter: reason, vcpu};

SELECT 'hyp_exit' AS kind, reason AS value, vcpu AS extra
FROM {event hypervisor.hyp_exit: reason, vcpu};

SELECT 'hyp_share' AS kind, handle AS extra, vcpu_idx AS vcpu, ipa AS address, pages(nr_pages) AS size, phys AS value,
  ret AS result
FROM {event hypervisor.lab_guest_share_host: handle, vcpu_idx, ipa, nr_pages, phys, ret};

SELECT 'hyp_unshare' AS kind, handle AS extra, vcpu_idx AS vcpu, ipa AS address, pages(nr_pages) AS size, phys AS value,
  ret AS result
FROM {event hypervisor.lab_guest_unshare_host: handle, vcpu_idx, ipa, nr_pages, phys, ret};

SELECT 'hyp_donate' AS kind, handle AS extra, ipa AS address, pages(nr_pages) AS size, phys AS value, ret AS result
FROM {event hypervisor.lab_host_donate_guest: handle, ipa, nr_pages, phys, ret};

SELECT 'hyp_reclaim' AS kind, handle AS extra, ipa AS address, pages(nr_pages) AS size, phys AS value, ret AS result
FROM {event hypervisor.lab_host_reclaim_guest: handle, ipa, nr_pages, phys, ret};

SELECT 'hyp_force_reclaim' AS kind, handle AS extra, ipa AS address, pages(nr_pages) AS size, phys AS value, ret AS result
FROM {event hypervisor.lab_host_force_reclaim: handle, ipa, nr_pages, phys, ret};

-- The guest's x0 is unsigned in the buffer.
SELECT 'hyp_hvc' AS kind, handle AS extra, vcpu_idx AS vcpu, func AS value, arg1 AS address, handled AS size,
  CASE WHEN CAST(ret AS HUGEINT) > 9223372036854775807 THEN CAST(ret AS HUGEINT) - 18446744073709551616
    ELSE CAST(ret AS HUGEINT) END AS result
FROM {event hypervisor.lab_guest_hvc: handle, vcpu_idx, func, arg1, handled, ret};

SELECT 'hyp_vm' AS kind, handle AS extra, what AS value, protected AS address, ret AS result
FROM {event hypervisor.lab_vm: handle, what, protected, ret};

SELECT 'host_abort' AS kind, addr AS value, ret AS result
FROM {event hypervisor.lab_host_abort_ret: addr, ret}
WHERE ret <> 0;
