/**
 * Tells a sound ring-buffer page from a damaged one before its records are believed. A sound page's entries end where its
 * length says; in a damaged one everything behind the damage is noise that may look like records.
 */

const TYPE_LEN_MAX = 28;
const TYPE_PADDING = 29;
const TYPE_TIME_EXTEND = 30;

export interface PageBytes {
  readonly view: DataView;
  /** First entry and end of the data, in the view. */
  readonly start: number;
  readonly end: number;
  readonly little: boolean;
}

/** Whether the entries of the page end exactly at the end of its data. */
export function isSoundPage(view: DataView, start: number, end: number, little: boolean): boolean {
  let pos = start;
  while (pos < end) {
    const size = entrySize(view, pos, end, little);
    if (size < 0) return false;
    pos += size;
  }
  return pos === end;
}

/** Bytes of the entry at `pos` with its head; up to `end` for the padding that fills a page; -1 for what cannot be. */
function entrySize(view: DataView, pos: number, end: number, little: boolean): number {
  if (pos + 4 > end) return -1;
  const head = view.getUint32(pos, little);
  const type = little ? head & 31 : head >>> 27;
  if (type !== 0 && type <= TYPE_LEN_MAX) return pos + 4 + type * 4 > end ? -1 : 4 + type * 4;
  if (type === TYPE_PADDING && (little ? head >>> 5 : head & 0x07ffffff) === 0) return end - pos;
  if (pos + 8 > end) return -1;
  if (type >= TYPE_TIME_EXTEND) return 8;
  const extra = view.getUint32(pos + 4, little);
  return extra < 4 || extra > end - pos - 4 ? -1 : 4 + ((extra + 3) & ~3);
}

/**
 * Where the believable part of a damaged page ends: at the first entry that cannot be, that has an unknown event id, or
 * whose stamp is behind that of the next page. `stamp` is the page's, `limit` the next page's (null: not known).
 */
export function findTrustedEnd(
  page: PageBytes,
  stamp: bigint,
  limit: bigint | null,
  isKnown: (idAt: number) => boolean,
): number {
  const { view, end, little } = page;
  let pos = page.start;
  let time = stamp;
  while (pos < end) {
    const size = entrySize(view, pos, end, little);
    if (size < 0) return pos;
    const head = view.getUint32(pos, little);
    const type = little ? head & 31 : head >>> 27;
    const delta = little ? head >>> 5 : head & 0x07ffffff;
    if (type === TYPE_TIME_EXTEND) time += (BigInt(view.getUint32(pos + 4, little)) << 27n) + BigInt(delta);
    else if (type < TYPE_TIME_EXTEND) time += BigInt(delta);
    if (limit !== null && time > limit) return pos;
    if (type <= TYPE_LEN_MAX && !isKnown(pos + (type === 0 ? 8 : 4))) return pos;
    pos += size;
  }
  return pos;
}
