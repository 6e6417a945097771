/**
 * Conversions and their attempts as growing columns behind row views: a long trace has millions of them, and an object
 * each, with a box for every number, would cost over a kilobyte. A view reads and writes its columns; it may be kept.
 */
import type { Evidence } from './event.js';
import type { Certainty } from './identity.js';
import type { AttemptRecord, Conversion, Direction, Mechanism, Origin, Outcome, RequestWay, VmState } from './state.js';

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
  'chunks',
  'batch',
  'epoch',
  'evidenceTrace',
  'evidenceCpu',
  'evidenceSeq',
  'evidenceTs',
  'attemptsFrom',
  'attemptsCount',
  'direction',
  'origin',
  'way',
  'mechanism',
  'outcome',
  'certainty',
] as const;
type Column = (typeof COLUMNS)[number];
const COLUMN = Object.fromEntries(COLUMNS.map((name, k) => [name, k])) as Readonly<Record<Column, number>>;
const WIDTH = COLUMNS.length;
const ATTEMPT_WIDTH = 9;
const CHUNK_ROWS = 4096;

/** Rows of `width` numbers in chunks that are never moved. */
interface Rows {
  readonly width: number;
  readonly chunks: Float64Array[];
  count: number;
}

function addRow(rows: Rows): { chunk: Float64Array; at: number } {
  const at = rows.count % CHUNK_ROWS;
  if (at === 0) rows.chunks.push(new Float64Array(CHUNK_ROWS * rows.width));
  rows.count++;
  return { chunk: rows.chunks[rows.chunks.length - 1]!, at: at * rows.width };
}

export interface ConversionLog {
  readonly rows: Rows;
  readonly attempts: Rows;
  readonly vms: readonly VmState[];
}

export function makeConversionLog(vms: readonly VmState[]): ConversionLog {
  return {
    rows: { width: WIDTH, chunks: [], count: 0 },
    attempts: { width: ATTEMPT_WIDTH, chunks: [], count: 0 },
    vms,
  };
}

function addAttempt(log: ConversionLog, a: AttemptRecord): void {
  const { chunk, at } = addRow(log.attempts);
  chunk[at] = a.tid;
  chunk[at + 1] = a.startNs;
  chunk[at + 2] = a.endNs;
  chunk[at + 3] = a.gpa;
  chunk[at + 4] = a.offset;
  chunk[at + 5] = a.inode;
  chunk[at + 6] = a.size;
  chunk[at + 7] = a.errno;
  chunk[at + 8] = a.errorOffset;
}

function readAttempt(log: ConversionLog, row: number): AttemptRecord {
  const chunk = log.attempts.chunks[Math.floor(row / CHUNK_ROWS)]!;
  const at = (row % CHUNK_ROWS) * ATTEMPT_WIDTH;
  return {
    tid: chunk[at]!,
    startNs: chunk[at + 1]!,
    endNs: chunk[at + 2]!,
    gpa: chunk[at + 3]!,
    offset: chunk[at + 4]!,
    inode: chunk[at + 5]!,
    size: chunk[at + 6]!,
    errno: chunk[at + 7]!,
    errorOffset: chunk[at + 8]!,
  };
}

/** A row view; the class only because its fields are accessors over the log's columns. */
class ConversionRow implements Conversion {
  private readonly log: ConversionLog;
  private readonly chunk: Float64Array;
  private readonly base: number;

  constructor(log: ConversionLog) {
    const { chunk, at } = addRow(log.rows);
    this.log = log;
    this.chunk = chunk;
    this.base = at;
  }

  private get(column: number): number {
    return this.chunk[this.base + column]!;
  }

  put(column: number, value: number): void {
    this.chunk[this.base + column] = value;
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
    const from = this.get(COLUMN.attemptsFrom);
    const end = from + this.get(COLUMN.attemptsCount);
    const list: AttemptRecord[] = [];
    for (let row = from; row < end; row++) list.push(readAttempt(this.log, row));
    return list;
  }
  set attempts(list: readonly AttemptRecord[]) {
    this.put(COLUMN.attemptsFrom, this.log.attempts.count);
    this.put(COLUMN.attemptsCount, list.length);
    for (const attempt of list) addAttempt(this.log, attempt);
  }
}

/** Keeps a conversion in the log; use the view that comes back, not the object that went in. */
export function keepConversion(log: ConversionLog, made: Conversion): Conversion {
  const row = new ConversionRow(log);
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
  row.attempts = made.attempts;
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
  'chunks',
  'batch',
  'epoch',
] as const satisfies readonly (Column & keyof Conversion)[];
