/**
 * Walks the ring-buffer pages of one CPU and pushes each record into the decoder. Layout of a page
 * (kernel/trace/ring_buffer.c: struct buffer_data_page, struct ring_buffer_event):
 *
 *   u64  time stamp
 *   long commit: bits 0..26 length of the data, bit 31 events were missed before, bit 30 their count follows the data
 *   data: entries { u32 head: type_len 5 bits, time delta 27 bits; [u32 array[0]]; payload }
 */
import type { EventBatch } from '../batch.js';
import type { LostStretch } from '../model.js';
import type { RecordDecoder } from '../record-decoder.js';
import type { SkipLog } from '../skips.js';
import type { PageLayout } from '../tracing-data.js';
import type { PageRun } from './chunks.js';
import type { CpuClock } from './clock.js';
import { findTrustedEnd, isSoundPage } from './page-check.js';

const TYPE_LEN_MAX = 28;
const TYPE_PADDING = 29;
const TYPE_TIME_EXTEND = 30;
const LENGTH_MASK = 0x07ffffff;
const MISSED_EVENTS = 0x80000000;
const MISSED_STORED = 0x40000000;
/** The top 5 bits of an absolute stamp are those of the page: ring_buffer.c, rb_fix_abs_ts. */
const ABS_TOP_BITS = 0xf8000000;

export interface PageWalkerOptions {
  readonly cpu: number;
  readonly pageSize: number;
  readonly layout: PageLayout;
  readonly bigEndian: boolean;
  readonly decoder: RecordDecoder;
  readonly clock: CpuClock;
  /** Added to the high half of seq: tells the buffers of one file apart. */
  readonly seqBaseHi: number;
  readonly skips: SkipLog;
}

interface Gap {
  count: number | null;
  readonly source: string;
  readonly fromNs: bigint | null;
}

/** Walks one run of pages after the other; owns the position within a page, so that a full batch can be emptied in between. */
export class PageWalker {
  /** Records seen so far (also those that the decoder could not read). */
  records = 0;
  readonly lost: LostStretch[] = [];
  firstNs: bigint | null = null;

  private readonly opts: PageWalkerOptions;
  private readonly little: boolean;
  private run: PageRun = { bytes: new Uint8Array(0), streamOffset: 0 };
  private view: DataView = new DataView(new ArrayBuffer(0));
  private nextPage = 0;
  private pos = 0;
  private end = 0;
  private page = 0;
  /** The open page is damaged behind `end`. */
  private isDamaged = false;
  private tsLo = 0;
  private tsHi = 0;
  private pageTsHi = 0;
  private lastLo = 0;
  private lastHi = 0;
  private gap: Gap | null = null;

  constructor(opts: PageWalkerOptions) {
    this.opts = opts;
    this.little = !opts.bigEndian;
  }

  /** Converted stamp of the last record; null before the first. */
  get lastNs(): bigint | null {
    return this.firstNs === null ? null : BigInt.asIntN(64, (BigInt(this.lastHi) << 32n) | BigInt(this.lastLo));
  }

  /** Takes the next run of pages. */
  startRun(run: PageRun): void {
    this.run = run;
    this.view = new DataView(run.bytes.buffer, run.bytes.byteOffset, run.bytes.byteLength);
    this.nextPage = 0;
    this.pos = 0;
    this.end = 0;
  }

  /** Walks on until a batch is full, which is given; null at the end of the run. */
  walk(): EventBatch | null {
    for (;;) {
      if (this.pos >= this.end) {
        if (this.isDamaged) this.leaveDamage();
        if (!this.openPage()) return null;
      }
      const batch = this.walkPage();
      if (batch) return batch;
    }
  }

  /** Notes that records may be missing between the last one and the next. */
  openGap(source: string, count: number | null): void {
    if (this.gap === null) this.gap = { source, count, fromNs: this.lastNs };
    else this.gap.count = this.gap.count === null || count === null ? null : this.gap.count + count;
  }

  /** Ends a gap that no record follows. */
  finish(): void {
    if (this.gap) this.lost.push({ cpu: this.opts.cpu, ...this.gap, toNs: null });
    this.gap = null;
  }

  /** Finds the next page with data; false at the end of the run. */
  private openPage(): boolean {
    const { pageSize, layout, skips, cpu } = this.opts;
    const { bytes, streamOffset } = this.run;
    while (this.nextPage + layout.dataOffset <= bytes.length) {
      const page = this.nextPage;
      this.nextPage += pageSize;
      const commitAt = page + layout.commitOffset + (this.little ? 0 : layout.commitSize - 4);
      const commit = this.view.getUint32(commitAt, this.little);
      const length = commit & LENGTH_MASK;
      if (length > pageSize - layout.dataOffset) {
        skips.add(
          'damaged page: its length is beyond its size',
          `cpu ${cpu} page ${Math.floor((streamOffset + page) / pageSize)}`,
        );
        this.openGap('damage', null);
        continue;
      }
      this.page = page;
      this.pos = page + layout.dataOffset;
      this.end = Math.min(this.pos + length, bytes.length);
      if ((commit & MISSED_EVENTS) !== 0) this.openGap('page-header', this.missedCount(commit));
      this.readStamp(page);
      const isClipped = this.pos + length > bytes.length;
      if (!isClipped && !isSoundPage(this.view, this.pos, this.end, this.little)) this.trustUntilDamage();
      if (this.pos < this.end || this.isDamaged) return true;
    }
    return false;
  }

  private readStamp(page: number): void {
    this.tsLo = this.view.getUint32(this.little ? page : page + 4, this.little);
    this.tsHi = this.view.getUint32(this.little ? page + 4 : page, this.little);
    this.pageTsHi = this.tsHi;
  }

  /** Cuts the open page where its damage begins; leaveDamage counts it when the records before are read. */
  private trustUntilDamage(): void {
    const { view, little, nextPage } = this;
    const { decoder } = this.opts;
    const next = nextPage + 8 <= this.run.bytes.length ? view.getBigUint64(nextPage, little) : 0n;
    const stamp = view.getBigUint64(this.page, little);
    this.end = findTrustedEnd(
      { view, start: this.pos, end: this.end, little },
      stamp,
      next >= stamp ? next : null,
      (at) => decoder.knows(view, at),
    );
    this.isDamaged = true;
  }

  /** The count that stands behind the data; null where the kernel had no room for it or it is nonsense. */
  private missedCount(commit: number): number | null {
    const { commitSize } = this.opts.layout;
    if ((commit & MISSED_STORED) === 0 || this.end + commitSize > this.run.bytes.length) return null;
    const wide = commitSize === 8;
    const lo = this.view.getUint32(this.little || !wide ? this.end : this.end + 4, this.little);
    const hi = wide ? this.view.getUint32(this.little ? this.end + 4 : this.end, this.little) : 0;
    return hi > 0xffff || (hi === 0 && lo === 0) ? null : hi * 4294967296 + lo;
  }

  /** The hot loop: entries of the open page, until a batch is full or the page ends. */
  private walkPage(): EventBatch | null {
    const { decoder, clock, cpu, seqBaseHi } = this.opts;
    const { view, little, end } = this;
    const { bytes } = this.run;
    const seqStart = this.run.streamOffset;
    let { pos, tsLo, tsHi } = this;
    let full: EventBatch | null = null;
    while (pos + 4 <= end && full === null) {
      const head = view.getUint32(pos, little);
      const type = little ? head & 31 : head >>> 27;
      const delta = little ? head >>> 5 : head & 0x07ffffff;
      let start = pos + 4;
      let length = type * 4;
      if (type > TYPE_LEN_MAX || type === 0) {
        if (type === TYPE_PADDING && delta === 0) break;
        const extra = pos + 8 <= end ? view.getUint32(start, little) : 0;
        // Only in the cut-off last page of a file: others were checked when they were opened.
        if (pos + 8 > end || (type < TYPE_TIME_EXTEND && (extra < 4 || extra > end - start))) break;
        if (type >= TYPE_TIME_EXTEND) {
          const lo = ((extra << 27) | delta) >>> 0;
          if (type === TYPE_TIME_EXTEND) {
            tsLo += lo;
            tsHi = (tsHi + (extra >>> 5) + (tsLo > 0xffffffff ? 1 : 0)) >>> 0;
            tsLo = tsLo >>> 0;
          } else {
            const hi = ((extra >>> 5) | (this.pageTsHi & ABS_TOP_BITS)) >>> 0;
            // Below the stamp before: the 59 bits went round.
            const isBelow = hi < tsHi || (hi === tsHi && lo < tsLo);
            tsHi = isBelow ? (hi + 0x08000000) >>> 0 : hi;
            tsLo = lo;
          }
          pos += 8;
          continue;
        }
        start = pos + 8;
        length = extra - 4;
        if (type === TYPE_PADDING) length = -1;
        pos += 4 + ((extra + 3) & ~3);
      } else {
        if (length > end - start) break;
        pos = start + length;
      }
      tsLo += delta;
      if (tsLo > 0xffffffff) {
        tsLo -= 4294967296;
        tsHi = (tsHi + 1) >>> 0;
      }
      if (length < 0) continue;
      let lo = tsLo + clock.addLo;
      let hi = (tsHi + clock.addHi + (lo > 0xffffffff ? 1 : 0)) >>> 0;
      lo = lo >>> 0;
      if (!clock.isPlain) {
        clock.convert(tsLo, tsHi);
        lo = clock.lo;
        hi = clock.hi;
      }
      if (this.gap !== null || this.firstNs === null) this.closeGap(lo, hi);
      this.lastLo = lo;
      this.lastHi = hi;
      this.records++;
      const seq = seqStart + start;
      full = decoder.push(bytes, start, length, lo, hi, cpu, seq >>> 0, seqBaseHi + Math.floor(seq / 4294967296));
    }
    this.pos = full === null ? end : pos;
    this.tsLo = tsLo;
    this.tsHi = tsHi;
    return full;
  }

  /** The rest of a damaged page is left out and counted. */
  private leaveDamage(): void {
    const { skips, cpu, pageSize } = this.opts;
    const page = Math.floor((this.run.streamOffset + this.page) / pageSize);
    skips.add(
      'damaged page: its entries are no records any more',
      `cpu ${cpu} page ${page}, byte ${this.end - this.page}`,
    );
    this.openGap('damage', null);
    this.isDamaged = false;
  }

  private closeGap(lo: number, hi: number): void {
    const ns = BigInt.asIntN(64, (BigInt(hi) << 32n) | BigInt(lo));
    this.firstNs ??= ns;
    if (this.gap) this.lost.push({ cpu: this.opts.cpu, ...this.gap, toNs: ns });
    this.gap = null;
  }
}
