/** One memory event as the replay sees it. The driver fills one object again and again: take values, keep no reference. */
export interface MemoryEvent {
  kind: number;
  traceId: number;
  /** ns since the first event of the analysis (exact in a float64 for 104 days of trace). */
  ts: number;
  cpu: number;
  tid: number;
  seq: number;
  /** struct kvm pointer cut to 48 bits, NaN where not known; so are all numbers below. */
  vmKey: number;
  vcpu: number;
  inode: number;
  fd: number;
  address: number;
  size: number;
  value: number;
  extra: number;
  result: number;
}

/** Where an event stands in its input: enough to print it again as evidence. */
export interface Evidence {
  readonly traceId: number;
  readonly cpu: number;
  readonly seq: number;
  readonly ts: number;
}

export function makeEvent(): MemoryEvent {
  return {
    kind: 0,
    traceId: 0,
    ts: 0,
    cpu: 0,
    tid: 0,
    seq: 0,
    vmKey: NaN,
    vcpu: NaN,
    inode: NaN,
    fd: NaN,
    address: NaN,
    size: NaN,
    value: NaN,
    extra: NaN,
    result: NaN,
  };
}

export function evidenceOf(ev: MemoryEvent): Evidence {
  return { traceId: ev.traceId, cpu: ev.cpu, seq: ev.seq, ts: ev.ts };
}

/** `a` unless it is NaN, else `b`. */
export function known(a: number, b: number): number {
  return Number.isNaN(a) ? b : a;
}

/** NaN as null: the edge between the replay's numbers and the tables. */
export function orNull(value: number): number | null {
  return Number.isNaN(value) ? null : value;
}
