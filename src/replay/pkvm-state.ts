/** What the replay holds of pKVM: frames that guests own, guest calls at EL2, host accesses, calls that stop a guest. */
import type { Evidence } from './event.js';
import type { Certainty } from './identity.js';
import type { Conversion, Direction, VmState } from './state.js';

/** A guest's exit that the hypervisor is handling on a CPU. */
export interface HypExit {
  readonly tid: number;
  readonly enterNs: number;
  readonly evidence: Evidence;
  /** The call it was, once its answer is known: its vCPU runs again at the next eret_guest. */
  row: Conversion | null;
}

/** A share or unshare that EL2 has not answered yet: the page must be donated first, and the guest repeats the call. */
export interface Wish {
  readonly tid: number;
  readonly vcpu: number;
  readonly vm: VmState | null;
  readonly direction: Direction;
  readonly gpa: number;
  readonly size: number;
  readonly requestNs: number;
  readonly evidence: Evidence;
  /** The vCPU was entered again; NaN: not yet. */
  resumeNs: number;
}

/** A reference on a donated frame, taken by somebody else than the donation itself. */
export interface FrameReference {
  readonly vm: VmState;
  readonly gpa: number;
  readonly pfn: number;
  readonly tid: number;
  readonly how: 'pin' | 'get';
  readonly takenNs: number;
  droppedNs: number;
}

/** A page frame that a protected guest owns. */
export interface Frame {
  readonly vm: VmState;
  readonly gpa: number;
  readonly out: FrameReference[];
}

/** A memslot: where in the VMM's address space its memory lies. */
export interface Slot {
  readonly vm: VmState;
  readonly slot: number;
  readonly gpa: number;
  readonly size: number;
  readonly hva: number;
}

export type AccessKind = 'sigsegv' | 'sigbus' | 'efault' | 'forced-reclaim';

/** The host touched memory that a guest keeps to itself. */
export interface HostAccess {
  readonly vm: VmState | null;
  readonly tid: number;
  readonly ts: number;
  readonly gpa: number;
  readonly hva: number;
  readonly pfn: number;
  readonly how: AccessKind;
  readonly evidence: Evidence;
  readonly certainty: Certainty;
}

/** An access of the host that EL2 refused; what became of it shows in the host's trace. */
export interface Refused {
  readonly frame: Frame;
  readonly pfn: number;
  readonly ts: number;
  readonly evidence: Evidence;
}

export interface Pkvm {
  readonly exits: Map<number, HypExit>;
  /** Thread whose guest ran last on each CPU. */
  readonly lastGuest: Map<number, number>;
  /** Handles that guests' calls showed, of VMs whose creation no probe shows. */
  readonly handles: Map<number, VmState>;
  /** By vCPU thread, or by handle and vCPU where the thread is not known. */
  readonly wishes: Map<string, Wish>;
  /** Guest exits that EL2 answered itself and of which no event says what they were. */
  answeredAtEl2: number;
  readonly frames: Map<number, Frame>;
  readonly slots: Slot[];
  /** s2_map in flight, by thread. */
  readonly mapping: Map<number, { vm: VmState; gpa: number; size: number; phys: number }>;
  /** Forced reclaims in flight, by thread. */
  readonly reclaiming: Map<number, { frame: Frame | null; pfn: number; ts: number; evidence: Evidence }>;
  readonly refused: Refused[];
  readonly accesses: HostAccess[];
  /** SIGSEGVs that may be accesses to guest memory. */
  readonly signals: HostAccess[];
  /** References that were dropped again or outlived their frame. */
  readonly references: FrameReference[];
  /** Unshares that stop a vCPU until KVM_RUN lets it go on, by thread. */
  readonly unshares: Map<number, Conversion>;
  /** All unshares that exited to userspace (mechanism vcpu-run). */
  readonly unshareRows: Conversion[];
  /** First touch of a page whose unshare is not done although the guest runs. */
  readonly touches: Map<Conversion, number>;
  readonly poweredOff: Set<number>;
  /** The kernel fills hxfar: a fault with 0 there means something. */
  fillsHxfar: boolean;
}

export function makePkvm(): Pkvm {
  return {
    exits: new Map(),
    lastGuest: new Map(),
    handles: new Map(),
    wishes: new Map(),
    answeredAtEl2: 0,
    frames: new Map(),
    slots: [],
    mapping: new Map(),
    reclaiming: new Map(),
    refused: [],
    accesses: [],
    signals: [],
    references: [],
    unshares: new Map(),
    unshareRows: [],
    touches: new Map(),
    poweredOff: new Set(),
    fillsHxfar: false,
  };
}
