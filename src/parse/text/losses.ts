/** Stretches without events, from what texts say of them, and the first and last stamps that they need for it. */
import type { LostStretch } from '../model.js';
import { wordsToBigInt } from './cursor.js';
import type { LineContext } from './context.js';

interface OpenLoss {
  readonly cpu: number;
  readonly fromNs: bigint | null;
  readonly count: number | null;
  readonly source: string;
}

const MAX_CPUS = 65536;

/** Follows the stamps of every CPU. */
export class LossLog {
  private readonly stretches: LostStretch[] = [];
  private readonly open = new Map<number, OpenLoss[]>();
  private openCount = 0;
  private overwritten = 0;
  /** 1 for each CPU with an event, and the words of its first and last stamp. */
  private readonly seen = new Uint8Array(MAX_CPUS);
  private readonly cpus: number[] = [];
  private first = new Map<number, bigint>();
  private lastLo = new Int32Array(MAX_CPUS);
  private lastHi = new Int32Array(MAX_CPUS);

  /** Called for every event. */
  see(context: LineContext): void {
    const { cpu } = context;
    if (this.seen[cpu] === 0) this.start(context);
    if (this.openCount > 0) this.close(context);
    this.lastLo[cpu] = context.tsLo;
    this.lastHi[cpu] = context.tsHi;
  }

  private start(context: LineContext): void {
    this.seen[context.cpu] = 1;
    this.cpus.push(context.cpu);
    this.first.set(context.cpu, wordsToBigInt(context.tsLo, context.tsHi, true));
  }

  private close(context: LineContext): void {
    const losses = this.open.get(context.cpu);
    if (!losses) return;
    const toNs = wordsToBigInt(context.tsLo, context.tsHi, true);
    for (const loss of losses) this.stretches.push({ ...loss, toNs });
    this.openCount -= losses.length;
    this.open.delete(context.cpu);
  }

  /** Events of a CPU are missing from its last event before this line to its next one. @param count null: unknown */
  lose(cpu: number, count: number | null, source: string): void {
    if (cpu >= MAX_CPUS) return;
    const fromNs = this.seen[cpu] ? wordsToBigInt(this.lastLo[cpu]!, this.lastHi[cpu]!, true) : null;
    const losses = this.open.get(cpu) ?? [];
    losses.push({ cpu, fromNs, count, source });
    this.open.set(cpu, losses);
    this.openCount++;
  }

  /** The header of a text says that its buffer was overwritten. */
  overwrite(count: number): void {
    this.overwritten += count;
  }

  get overwrittenEvents(): number {
    return this.overwritten;
  }

  /**
   * All stretches. Of an overwritten buffer each CPU's begins at an unknown time and ends with its first event: which
   * CPU lost how many is not told, so the count stands in a row for all.
   */
  list(): LostStretch[] {
    const open = [...this.open.values()].flat().map((loss) => ({ ...loss, toNs: null }));
    const all = [...this.stretches, ...open];
    if (this.overwritten === 0) return all;
    const firsts = [...this.cpus].sort((a, b) => a - b).map((cpu) => ({ cpu, toNs: this.first.get(cpu)! }));
    const latest = firsts.reduce<bigint | null>((max, { toNs }) => (max === null || toNs > max ? toNs : max), null);
    const source = 'overwritten';
    return [
      { cpu: null, fromNs: null, toNs: latest, count: this.overwritten, source },
      ...firsts.map(({ cpu, toNs }) => ({ cpu, fromNs: null, toNs, count: null, source })),
      ...all.filter((loss) => loss.source !== 'ring-start'),
    ];
  }
}
