/**
 * Conversions and their attempts as rows of numbers behind views: a long trace has millions of them, and an object each,
 * with a box for every number, would cost over a kilobyte. A view reads and writes its row; it may be kept.
 */
import type { Evidence } from './event.js';
import type { Certainty } from './identity.js';
import { addRow, getNumber, makePagedRows, setNumber, type PagedRows, type Spill } from './paged-rows.js';
import type {
  AttemptRecord,
  Conversion,
  Direction,
  Mechanism,
  NewConversion,
  Origin,
  Outcome,
  RequestWay,
  VmState,
} from './state.js';

const DIRECTIONS: readonly (Direction | null)[] = [null, 'to_private', 'to_shared'];
const ORIGINS: readonly Origin[] = ['explicit', 'implicit', 'vmm'];
const WAYS: readonly RequestWay[] = [
  'map-gpa-range',
  'tdx-mapgpa',
  'snp-psc',
  'snp-psc-msr',
  'pkvm-hvc',
  'fault',
  'none',
  'rsi-ripas',
];
const MECHANISMS: readonly Mechanism[] = [
  'vm-attributes',
  'gmem-attributes',
  'gmem-convert',
  'vcpu-run',
  'pkvm-hyp',
  'unknown',
];
const OUTCOMES: readonly Outcome[] = ['done', 'refused', 'failed', 'noop', 'pending', 'unknown'];
const CERTAINTIES: readonly Certainty[] = ['observed', 'inferred', 'assumed', 'unknown'];

/** Columns of a conversion, in this order in a row. */
const COLUMNS = [
  'vm',
  'vcpu',
  'tid',
  'gpa',
  'offset',
  'inode',
  'size',
  'requestNs',
  'exitNs',
  'commitNs',
  'resumeNs',
  'firstUseNs',
  'stopNs',
  'runnableNs',
  'sleepingNs',
  'blockedNs',
  'chunks',
  'batch',
  'epoch',
  'evidenceTrace',
  'evidenceCpu',
  'evidenceSeq',
  'evidenceTs',
  'firstAttempt',
  'lastAttempt',
  'direction',
  'origin',
  'way',
  'mechanism',
  'outcome',
  'certainty',
] as const;
type Column = (typeof COLUMNS)[number];
const COLUMN = Object.fromEntries(COLUMNS.map((name, k) => [name, k])) as Readonly<Record<Column, number>>;

/** Numbers of an attempt's row, then the row of the same conversion's next attempt (0: none; row 0 is not used). */
const ATTEMPT_COLUMNS = [
  'tid',
  'startNs',
  'endNs',
  'gpa',
  'offset',
  'inode',
  'size',
  'errno',
  'errorOffset',
] as const satisfies readonly (keyof AttemptRecord)[];
const NEXT_ATTEMPT = ATTEMPT_COLUMNS.length;

/** How much of them stays in memory, bytes: 190,000 conversions, 150,000 attempts. */
const CONVERSION_BYTES = 48 << 20;
const ATTEMPT_BYTES = 12 << 20;

export interface ConversionLog {
  readonly rows: PagedRows;
  readonly attempts: PagedRows;
  readonly vms: readonly VmState[];
}

export function makeConversionLog(vms: readonly VmState[], spill: Spill): ConversionLog {
  const attempts = makePagedRows(ATTEMPT_COLUMNS.length + 1, ATTEMPT_BYTES, spill);
  addRow(attempts);
  return { rows: makePagedRows(COLUMNS.length, CONVERSION_BYTES, spill), attempts, vms };
}

function addAttempt({ attempts }: ConversionLog, attempt: AttemptRecord): number {
  const row = addRow(attempts);
  for (let k = 0; k < ATTEMPT_COLUMNS.length; k++) setNumber(attempts, row, k, attempt[ATTEMPT_COLUMNS[k]!]);
  return row;
}

function readAttempt({ attempts }: ConversionLog, row: number): AttemptRecord {
  const get = (column: number): number => getNumber(attempts, row, column);
  return {
    tid: get(0),
    startNs: get(1),
    endNs: get(2),
    gpa: get(3),
    offset: get(4),
    inode: get(5),
    size: get(6),
    errno: get(7),
    errorOffset: get(8),
  };
}

/** A row view; the class only because its fields are accessors over the log's columns. */
class ConversionRow implements Conversion {
  private readonly log: ConversionLog;
  /** Place in the order in which conversions came. */
  readonly index: number;

  constructor(log: ConversionLog, index: number) {
    this.log = log;
    this.index = index;
  }

  private get(column: number): number {
    return getNumber(this.log.rows, this.index, column);
  }

  put(column: number, value: number): void {
    setNumber(this.log.rows, this.index, column, value);
  }

  get vm(): VmState | null {
    const id = this.get(COLUMN.vm);
    return id === 0 ? null : this.log.vms[id - 1]!;
  }
  get vcpu(): number {
    return this.get(COLUMN.vcpu);
  }
  get tid(): number {
    return this.get(COLUMN.tid);
  }
  get gpa(): number {
    return this.get(COLUMN.gpa);
  }
  set gpa(value: number) {
    this.put(COLUMN.gpa, value);
  }
  get offset(): number {
    return this.get(COLUMN.offset);
  }
  set offset(value: number) {
    this.put(COLUMN.offset, value);
  }
  get inode(): number {
    return this.get(COLUMN.inode);
  }
  set inode(value: number) {
    this.put(COLUMN.inode, value);
  }
  get size(): number {
    return this.get(COLUMN.size);
  }
  set size(value: number) {
    this.put(COLUMN.size, value);
  }
  get requestNs(): number {
    return this.get(COLUMN.requestNs);
  }
  get exitNs(): number {
    return this.get(COLUMN.exitNs);
  }
  get commitNs(): number {
    return this.get(COLUMN.commitNs);
  }
  set commitNs(value: number) {
    this.put(COLUMN.commitNs, value);
  }
  get resumeNs(): number {
    return this.get(COLUMN.resumeNs);
  }
  set resumeNs(value: number) {
    this.put(COLUMN.resumeNs, value);
  }
  get firstUseNs(): number {
    return this.get(COLUMN.firstUseNs);
  }
  set firstUseNs(value: number) {
    this.put(COLUMN.firstUseNs, value);
  }
  get stopNs(): number {
    return this.get(COLUMN.stopNs);
  }
  set stopNs(value: number) {
    this.put(COLUMN.stopNs, value);
  }
  get runnableNs(): number {
    return this.get(COLUMN.runnableNs);
  }
  get sleepingNs(): number {
    return this.get(COLUMN.sleepingNs);
  }
  get blockedNs(): number {
    return this.get(COLUMN.blockedNs);
  }
  get chunks(): number {
    return this.get(COLUMN.chunks);
  }
  set chunks(value: number) {
    this.put(COLUMN.chunks, value);
  }
  get batch(): number {
    return this.get(COLUMN.batch);
  }
  get epoch(): number {
    return this.get(COLUMN.epoch);
  }
  get direction(): Direction | null {
    return DIRECTIONS[this.get(COLUMN.direction)]!;
  }
  set direction(value: Direction | null) {
    this.put(COLUMN.direction, DIRECTIONS.indexOf(value));
  }
  get origin(): Origin {
    return ORIGINS[this.get(COLUMN.origin)]!;
  }
  get way(): RequestWay {
    return WAYS[this.get(COLUMN.way)]!;
  }
  get mechanism(): Mechanism {
    return MECHANISMS[this.get(COLUMN.mechanism)]!;
  }
  set mechanism(value: Mechanism) {
    this.put(COLUMN.mechanism, MECHANISMS.indexOf(value));
  }
  get outcome(): Outcome {
    return OUTCOMES[this.get(COLUMN.outcome)]!;
  }
  set outcome(value: Outcome) {
    this.put(COLUMN.outcome, OUTCOMES.indexOf(value));
  }
  get certainty(): Certainty {
    return CERTAINTIES[this.get(COLUMN.certainty)]!;
  }
  set certainty(value: Certainty) {
    this.put(COLUMN.certainty, CERTAINTIES.indexOf(value));
  }
  get evidence(): Evidence {
    return {
      traceId: this.get(COLUMN.evidenceTrace),
      cpu: this.get(COLUMN.evidenceCpu),
      seq: this.get(COLUMN.evidenceSeq),
      ts: this.get(COLUMN.evidenceTs),
    };
  }
  get attempts(): readonly AttemptRecord[] {
    const list: AttemptRecord[] = [];
    const { attempts } = this.log;
    for (let row = this.get(COLUMN.firstAttempt); row !== 0; row = getNumber(attempts, row, NEXT_ATTEMPT))
      list.push(readAttempt(this.log, row));
    return list;
  }
  addAttempts(list: readonly AttemptRecord[]): void {
    for (const attempt of list) {
      const row = addAttempt(this.log, attempt);
      const last = this.get(COLUMN.lastAttempt);
      if (last === 0) this.put(COLUMN.firstAttempt, row);
      else setNumber(this.log.attempts, last, NEXT_ATTEMPT, row);
      this.put(COLUMN.lastAttempt, row);
    }
  }
}

/** Keeps a conversion in the log; use the view that comes back, not the object that went in. */
export function keepConversion(log: ConversionLog, made: NewConversion): Conversion {
  const row = new ConversionRow(log, addRow(log.rows));
  row.put(COLUMN.vm, made.vm?.identity.id ?? 0);
  for (const name of NUMBERS) row.put(COLUMN[name], made[name]);
  row.put(COLUMN.origin, ORIGINS.indexOf(made.origin));
  row.put(COLUMN.way, WAYS.indexOf(made.way));
  row.direction = made.direction;
  row.mechanism = made.mechanism;
  row.outcome = made.outcome;
  row.certainty = made.certainty;
  row.put(COLUMN.evidenceTrace, made.evidence.traceId);
  row.put(COLUMN.evidenceCpu, made.evidence.cpu);
  row.put(COLUMN.evidenceSeq, made.evidence.seq);
  row.put(COLUMN.evidenceTs, made.evidence.ts);
  row.addAttempts(made.attempts);
  return row;
}

const NUMBERS = [
  'vcpu',
  'tid',
  'gpa',
  'offset',
  'inode',
  'size',
  'requestNs',
  'exitNs',
  'commitNs',
  'resumeNs',
  'firstUseNs',
  'stopNs',
  'runnableNs',
  'sleepingNs',
  'blockedNs',
  'chunks',
  'batch',
  'epoch',
] as const satisfies readonly (Column & keyof NewConversion)[];

/**
 * The conversions of a log as a list, first as they came, then in the order that `sortBy` gives. Its rows are views made
 * as they are asked for: two views of one conversion are equal by `index`, not by identity.
 */
export class ConversionList {
  private readonly log: ConversionLog;
  /** Rows in order; null: as they came. */
  private order: Uint32Array | null = null;
  /** Place of each row in that order. */
  private places: Uint32Array | null = null;

  constructor(log: ConversionLog) {
    this.log = log;
  }

  get length(): number {
    return this.log.rows.count;
  }

  at(place: number): Conversion {
    return new ConversionRow(this.log, this.order ? this.order[place]! : place);
  }

  *[Symbol.iterator](): Generator<Conversion, void, void> {
    for (let place = 0; place < this.length; place++) yield this.at(place);
  }

  filter(test: (row: Conversion) => boolean): Conversion[] {
    const found: Conversion[] = [];
    for (const row of this) if (test(row)) found.push(row);
    return found;
  }

  find(test: (row: Conversion) => boolean): Conversion | undefined {
    for (const row of this) if (test(row)) return row;
    return undefined;
  }

  /** 1 for the first: the number of a conversion in the tables, once the list is sorted. */
  idOf(row: Conversion): number {
    return (this.places ? this.places[row.index]! : row.index) + 1;
  }

  /** Sorts once, by a time and then by thread; what is equal in both stays as it came. */
  sortBy(timeOf: (row: Conversion) => number): void {
    const times = Float64Array.from(this, timeOf);
    const order = Uint32Array.from(times, (_, row) => row);
    const tid = (row: number): number => getNumber(this.log.rows, row, COLUMN.tid);
    order.sort((a, b) => times[a]! - times[b]! || tid(a) - tid(b) || a - b);
    this.places = new Uint32Array(order.length);
    for (let place = 0; place < order.length; place++) this.places[order[place]!] = place;
    this.order = order;
  }
}
