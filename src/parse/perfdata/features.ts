/** Feature sections of perf.data: what the recorder says about the machine and the recording (perf's util/header.c). */
import { attrLength, decodeAttr, readU64 } from './attr.js';
import type { PerfAttr } from './attr.js';

export const HEADER_TRACING_DATA = 1;
export const HEADER_HOSTNAME = 3;
export const HEADER_OSRELEASE = 4;
export const HEADER_VERSION = 5;
export const HEADER_ARCH = 6;
export const HEADER_NRCPUS = 7;
export const HEADER_EVENT_DESC = 12;
export const HEADER_COMPRESSED = 27;

/** Strings and lists beyond this are damage. */
const MAX_STRING = 64 * 1024;
const MAX_EVENTS = 64 * 1024;

export interface PerfFeatures {
  hostname: string | null;
  kernel: string | null;
  version: string | null;
  arch: string | null;
  cpus: number | null;
  compressed: boolean;
  /** Events by EVENT_DESC, with names and ids. */
  events: readonly PerfAttr[];
}

export function noFeatures(): PerfFeatures {
  return { hostname: null, kernel: null, version: null, arch: null, cpus: null, compressed: false, events: [] };
}

/** Takes the payload of feature `feature` into `into`; features that are of no use here are left. */
export function readFeature(into: PerfFeatures, feature: number, bytes: Uint8Array, little: boolean): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  switch (feature) {
    case HEADER_HOSTNAME:
      into.hostname = decodeString(bytes, view, 0, little)?.text ?? null;
      break;
    case HEADER_OSRELEASE:
      into.kernel = decodeString(bytes, view, 0, little)?.text ?? null;
      break;
    case HEADER_VERSION:
      into.version = decodeString(bytes, view, 0, little)?.text ?? null;
      break;
    case HEADER_ARCH:
      into.arch = decodeString(bytes, view, 0, little)?.text ?? null;
      break;
    case HEADER_NRCPUS:
      // available (configured), then online
      if (bytes.length >= 8) into.cpus = view.getUint32(4, little) || view.getUint32(0, little);
      break;
    case HEADER_EVENT_DESC:
      into.events = decodeEventDesc(bytes, view, little);
      break;
    case HEADER_COMPRESSED:
      into.compressed = true;
      break;
  }
}

/** A length and that many bytes, of which the text ends at the first NUL. null where it does not fit. */
function decodeString(
  bytes: Uint8Array,
  view: DataView,
  offset: number,
  little: boolean,
): { text: string; next: number } | null {
  if (offset + 4 > bytes.length) return null;
  const length = view.getUint32(offset, little);
  const next = offset + 4 + length;
  if (length > MAX_STRING || next > bytes.length) return null;
  return { text: decodeName(bytes, offset + 4, next), next };
}

/** The text from `from` up to a NUL, or to `to`. */
export function decodeName(bytes: Uint8Array, from: number, to: number): string {
  const nul = bytes.subarray(from, to).indexOf(0);
  return Buffer.from(bytes.buffer, bytes.byteOffset + from, nul < 0 ? to - from : nul).toString('utf8');
}

/** EVENT_DESC: u32 nr, u32 attr_size, nr × { attr, u32 nr_ids, string name, u64 ids[nr_ids] }; reads as far as it fits. */
function decodeEventDesc(bytes: Uint8Array, view: DataView, little: boolean): PerfAttr[] {
  const events: PerfAttr[] = [];
  if (bytes.length < 8) return events;
  const count = Math.min(view.getUint32(0, little), MAX_EVENTS);
  const size = view.getUint32(4, little);
  let at = 8;
  for (let k = 0; k < count; k++) {
    if (at + size + 4 > bytes.length) break;
    const length = attrLength(view, at, size, little);
    if (length === 0) break;
    const attr = decodeAttr(view, at, length, little);
    const idCount = view.getUint32(at + size, little);
    const name = decodeString(bytes, view, at + size + 4, little);
    if (!name || name.next + idCount * 8 > bytes.length) break;
    attr.name = name.text;
    attr.ids = decodeIds(view, name.next, idCount, little);
    events.push(attr);
    at = name.next + idCount * 8;
  }
  return events;
}

/** `count` u64 ids; the caller has checked that they are there. */
export function decodeIds(view: DataView, offset: number, count: number, little: boolean): number[] {
  const ids: number[] = [];
  for (let k = 0; k < count; k++) ids.push(readU64(view, offset + 8 * k, little));
  return ids;
}
