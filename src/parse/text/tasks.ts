/** Threads that lines name: which tid had which comm and process, told once and again where it changes. */
import type { TaskSighting } from '../model.js';
import { ByteTable } from './byte-table.js';
import { decode } from './bytes.js';
import { wordsToBigInt } from './cursor.js';
import type { LineContext } from './context.js';

/** More tasks than any host has at once; beyond it a hostile text would fill the memory. */
const MAX_TASKS = 1_000_000;

export class TaskLog {
  readonly sightings: TaskSighting[] = [];
  /** Known task fields (comm and pid together), and per field its tid, tgid and whether it is the tid's latest. */
  private readonly fields = new ByteTable();
  private tids = new Int32Array(256);
  private tgids = new Int32Array(256);
  private latest = new Uint8Array(256);
  private readonly fieldOfTid = new Map<number, number>();

  /** Takes note of a line's task. */
  see(buf: Uint8Array, context: LineContext): void {
    if (context.taskTo === context.taskFrom) return;
    const field = this.fields.find(buf, context.taskFrom, context.taskTo);
    if (field < 0) this.add(buf, context);
    else if (this.latest[field] === 0 || (this.tgids[field] !== context.tgid && context.tgid >= 0)) {
      this.sight(field, buf, context);
    }
  }

  private add(buf: Uint8Array, context: LineContext): void {
    if (this.fields.length >= MAX_TASKS) return;
    const field = this.fields.add(buf, context.taskFrom, context.taskTo);
    if (field >= this.tids.length) {
      this.tids = enlarge(this.tids, new Int32Array(field * 2));
      this.tgids = enlarge(this.tgids, new Int32Array(field * 2));
      this.latest = enlarge(this.latest, new Uint8Array(field * 2));
    }
    this.tids[field] = context.tid;
    this.tgids[field] = -1;
    this.sight(field, buf, context);
  }

  private sight(field: number, buf: Uint8Array, context: LineContext): void {
    const { tid } = context;
    const before = this.fieldOfTid.get(tid);
    if (before !== undefined) this.latest[before] = 0;
    this.fieldOfTid.set(tid, field);
    this.latest[field] = 1;
    if (context.tgid >= 0) this.tgids[field] = context.tgid;
    // every CPU's idle task has tid 0
    if (tid === 0 && before !== undefined) return;
    const comm = decode(buf, context.taskFrom, context.commTo);
    // `<...>`: saved_cmdlines had no name; `:312`: perf had none
    const isUnknown = comm === '' || comm === '<...>' || comm === `:${tid}`;
    const known = this.tgids[field]!;
    if (isUnknown && before !== undefined && known < 0) return;
    this.sightings.push({
      tid,
      tgid: known < 0 ? null : known,
      comm: isUnknown ? null : comm,
      fromNs: wordsToBigInt(context.tsLo, context.tsHi, true),
    });
  }
}

function enlarge<T extends Int32Array | Uint8Array>(old: T, bigger: T): T {
  bigger.set(old);
  return bigger;
}
