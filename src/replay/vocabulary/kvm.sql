-- platform: any
-- What the tracepoints of the common KVM code and of x86 KVM mean (reference: include/trace/events/kvm.h,
-- arch/x86/kvm/trace.h, arch/x86/kvm/mmu/mmutrace.h).

-- arm64 has an exception class for a trap only (ret = 2, arch/arm64/kvm/trace_arm.h): of an interrupt esr_ec is 0 and means nothing.
SELECT 'guest_exit' AS kind, vcpu_id AS vcpu, coalesce(exit_reason, CASE WHEN ret = 2 OR ret IS NULL THEN esr_ec END) AS value,
  isa AS extra, ret AS result
FROM {event kvm.kvm_exit: vcpu_id, exit_reason, esr_ec, isa, ret};

SELECT 'guest_entry' AS kind, vcpu_id AS vcpu, coalesce(rip, vcpu_pc) AS address
FROM {event kvm.kvm_entry: vcpu_id, rip, vcpu_pc};

-- kvm_arch_vcpu_postcreate synchronizes the TSC of each vCPU that is made (arch/x86/kvm/x86.c, kvm_track_tsc_matching).
SELECT 'vcpu_online' AS kind, vcpu_id AS vcpu
FROM {event kvm.kvm_track_tsc: vcpu_id};

SELECT 'hypercall' AS kind, nr AS value, a0 AS address, pages(a1) AS size, a2 AS extra
FROM {event kvm.kvm_hypercall: nr, a0, a1, a2}
WHERE nr = 12;

SELECT 'guest_fault' AS kind, vcpu_id AS vcpu, fault_address AS address, error_code AS value
FROM {event kvm.kvm_page_fault: vcpu_id, fault_address, error_code};

SELECT 'guest_fault' AS kind, ipa AS address, hsr AS value, hxfar AS extra
FROM {event kvm.kvm_guest_fault: ipa, hsr, hxfar};

SELECT 'user_exit' AS kind, reason AS value, errno AS result
FROM {event kvm.kvm_userspace_exit: reason, errno};

SELECT 'attr_event' AS kind, pages("start") AS address, pages("end") - pages("start") AS size, attr AS value
FROM {event kvm.kvm_vm_set_mem_attributes: start, end, attr};

SELECT 'vmgexit' AS kind, vcpu_id AS vcpu, exit_reason AS value
FROM {event kvm.kvm_vmgexit_enter: vcpu_id, exit_reason};

-- What a page state change came to, as KVM tells the guest in SW_EXITINFO2 (sev_es_unmap_ghcb, arch/x86/kvm/svm/sev.c).
SELECT 'hypercall_done' AS kind, vcpu_id AS vcpu, info2 AS result
FROM {event kvm.kvm_vmgexit_exit: vcpu_id, exit_reason, info2}
WHERE exit_reason = 2147483664;

SELECT 'vmgexit_msr' AS kind, vcpu_id AS vcpu, ghcb_gpa AS value
FROM {event kvm.kvm_vmgexit_msr_protocol_enter: vcpu_id, ghcb_gpa};

SELECT 'hvc' AS kind, r0 AS value
FROM {event kvm.kvm_hvc_arm64: r0};

SELECT 'spte_set' AS kind, pages(gfn) AS address
FROM {event kvmmmu.kvm_mmu_set_spte: gfn};

SELECT 'spte_requested' AS kind, pages(gfn) AS address, pfn AS value
FROM {event kvmmmu.kvm_mmu_spte_requested: gfn, pfn};

SELECT 'hva_unmap' AS kind, "start" AS address, TRY_CAST("end" AS DOUBLE) - TRY_CAST("start" AS DOUBLE) AS size
FROM {event kvm.kvm_unmap_hva_range: start, end};

-- A write of 6 to port 0xcf9, or of 0xfe to 0x64, resets the machine.
SELECT 'pio_write' AS kind, port AS value, val AS extra
FROM {event kvm.kvm_pio: rw, port, val}
WHERE port IN (3321, 100) AND rw = 1;

SELECT 'mmio' AS kind, gpa AS address, val AS value, CASE WHEN type = 2 THEN 1 ELSE 0 END AS extra
FROM {event kvm.kvm_mmio: type, gpa, val};
