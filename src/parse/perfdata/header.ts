/** The head of a perf.data: magic, byte order, form, attrs, feature sections (tools/perf/util/header.h). */
import { TraceError } from '../../base/errors.js';
import type { Verdict } from '../model.js';
import type { SkipLog } from '../skips.js';
import type { Source } from '../source.js';
import { attrLength, decodeAttr, MAX_ATTR_SIZE, MIN_ATTR_SIZE, readU64 } from './attr.js';
import type { PerfAttr } from './attr.js';
import { decodeIds, HEADER_TRACING_DATA, noFeatures, readFeature } from './features.js';
import type { PerfFeatures } from './features.js';

/** perf_file_header of the pipe form ends here; records follow. */
const PIPE_HEADER_SIZE = 16;
const FILE_HEADER_SIZE = 104;
/** Largest feature section that is read; TRACING_DATA with all events of a kernel has about 10 MiB. */
const MAX_FEATURE_BYTES = 256 * 1024 * 1024;
const MAX_ATTRS = 64 * 1024;

export interface PerfHeader {
  readonly form: 'file' | 'pipe';
  readonly little: boolean;
  readonly attrs: PerfAttr[];
  /** First byte of the records, and the first after them. */
  readonly dataStart: number;
  readonly dataEnd: number;
  readonly features: PerfFeatures;
  /** The TRACING_DATA section; null where there is none (yet: the pipe form has it as a record). */
  readonly tracingData: Uint8Array | null;
  readonly notes: readonly string[];
}

type Magic = { version: 1 | 2; little: boolean };

function findMagic(head: Uint8Array): Magic | null {
  const text = Buffer.from(head.subarray(0, 8)).toString('latin1');
  if (text === 'PERFILE2') return { version: 2, little: true };
  if (text === '2ELIFREP') return { version: 2, little: false };
  if (text === 'PERFFILE' || text === 'ELIFFREP') return { version: 1, little: text === 'PERFFILE' };
  return null;
}

/** Whether the bytes begin a perf.data of any version, byte order or form. */
export function detectPerfData(head: Uint8Array): Verdict {
  return findMagic(head) ? 'yes' : { no: 'it does not begin with PERFILE2' };
}

/**
 * Reads everything around the records. Throws TraceError: `unsupported-version` (perf of 2009), `truncated` or `corrupt`
 * where not even the attrs can be read, without which a sample has no layout.
 */
export function readHeader(source: Source, skips: SkipLog): PerfHeader {
  const head = source.readAt(0, FILE_HEADER_SIZE).slice();
  const magic = findMagic(head);
  if (magic?.version !== 2) {
    throw new TraceError('unsupported-version', 'perf.data of version 1, which perf wrote until 2010, is not read', {
      input: source.path,
      byteOffset: 0,
    });
  }
  if (head.length < PIPE_HEADER_SIZE) {
    throw new TraceError('truncated', `perf.data ends within its header, at byte ${head.length}`, {
      input: source.path,
      byteOffset: head.length,
    });
  }
  const view = new DataView(head.buffer);
  const size = source.size ?? 0;
  if (readU64(view, 8, magic.little) === PIPE_HEADER_SIZE) {
    return {
      form: 'pipe',
      little: magic.little,
      attrs: [],
      dataStart: PIPE_HEADER_SIZE,
      dataEnd: size,
      features: noFeatures(),
      tracingData: null,
      notes: [],
    };
  }
  if (head.length < FILE_HEADER_SIZE) {
    throw new TraceError('truncated', `perf.data ends within its header, at byte ${head.length}`, {
      input: source.path,
      byteOffset: head.length,
    });
  }
  return readFileForm(source, view, magic.little, size, skips);
}

function readFileForm(source: Source, view: DataView, little: boolean, size: number, skips: SkipLog): PerfHeader {
  const attrs = readAttrs(source, view, little, size, skips);
  const dataStart = readU64(view, 40, little);
  const dataSize = readU64(view, 48, little);
  if (dataStart < FILE_HEADER_SIZE || dataStart > size) {
    throw new TraceError('truncated', `perf.data ends at byte ${size}, before its records at byte ${dataStart}`, {
      input: source.path,
      byteOffset: size,
    });
  }
  const features = noFeatures();
  const notes: string[] = [];
  let tracingData: Uint8Array | null = null;
  if (dataSize === 0) {
    // The recorder sets sizes when it ends; the feature table does not exist either (its bits are set all the same).
    notes.push('perf record was killed: no names, no event formats; records read up to the end of the file');
    skips.add('perf record was killed before it wrote the event formats', `byte ${dataStart}`);
  } else if (dataStart + dataSize > size) {
    const missing = dataStart + dataSize - size;
    skips.add(`the file is cut off: ${missing} bytes of records and all event formats are missing`, `byte ${size}`);
  } else {
    tracingData = readFeatures(source, view, little, dataStart + dataSize, features, skips);
  }
  const whole = dataSize > 0 && dataStart + dataSize <= size;
  return {
    form: 'file',
    little,
    attrs,
    dataStart,
    dataEnd: whole ? dataStart + dataSize : size,
    features,
    tracingData,
    notes,
  };
}

/** Entries of attr_size bytes: the attr, then {u64 offset, u64 size} of its ids. */
function readAttrs(source: Source, view: DataView, little: boolean, size: number, skips: SkipLog): PerfAttr[] {
  const entrySize = readU64(view, 16, little);
  const offset = readU64(view, 24, little);
  const length = readU64(view, 32, little);
  if (entrySize < MIN_ATTR_SIZE + 16 || entrySize > MAX_ATTR_SIZE || length < entrySize || offset > size) {
    throw new TraceError(
      'corrupt',
      `perf.data says that its events lie at byte ${offset} (${length} bytes, ${entrySize} each), which cannot be`,
      { input: source.path, byteOffset: 16 },
    );
  }
  const attrs: PerfAttr[] = [];
  const count = Math.min(Math.floor(length / entrySize), MAX_ATTRS);
  for (let k = 0; k < count; k++) {
    const at = offset + k * entrySize;
    const bytes = source.readAt(at, entrySize);
    const entry = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const attrSize = bytes.length < entrySize ? 0 : attrLength(entry, 0, entrySize - 16, little);
    if (attrSize === 0) {
      skips.add('event description that is cut off or damaged', `byte ${at}`);
      break;
    }
    const attr = decodeAttr(entry, 0, attrSize, little);
    attr.ids = readIds(
      source,
      readU64(entry, entrySize - 16, little),
      readU64(entry, entrySize - 8, little),
      little,
      skips,
    );
    attrs.push(attr);
  }
  if (attrs.length === 0) {
    throw new TraceError('corrupt', `perf.data has no readable event description at byte ${offset}`, {
      input: source.path,
      byteOffset: offset,
    });
  }
  return attrs;
}

function readIds(source: Source, offset: number, length: number, little: boolean, skips: SkipLog): number[] {
  if (length === 0) return [];
  const limit = source.size ?? 0;
  if (offset + length > limit || length % 8 !== 0) {
    skips.add('sample ids of an event are not where its description says', `byte ${offset}`);
    return [];
  }
  const bytes = source.readAt(offset, length);
  return decodeIds(new DataView(bytes.buffer, bytes.byteOffset, bytes.length), 0, length / 8, little);
}

/** The table {u64 offset, u64 size} per set feature bit behind the records; returns TRACING_DATA. */
function readFeatures(
  source: Source,
  header: DataView,
  little: boolean,
  tableStart: number,
  features: PerfFeatures,
  skips: SkipLog,
): Uint8Array | null {
  let tracingData: Uint8Array | null = null;
  let entry = tableStart;
  for (let feature = 0; feature < 256; feature++) {
    if (!hasFeature(header, feature, little)) continue;
    const place = source.readAt(entry, 16);
    if (place.length < 16) {
      skips.add('feature section that is cut off', `byte ${entry}`);
      break;
    }
    const view = new DataView(place.buffer, place.byteOffset, 16);
    const offset = readU64(view, 0, little);
    const length = readU64(view, 8, little);
    entry += 16;
    if (offset + length > (source.size ?? 0) || length > MAX_FEATURE_BYTES) {
      skips.add('feature section that is cut off', `byte ${entry - 16}`);
      continue;
    }
    if (feature === HEADER_TRACING_DATA) tracingData = source.readAt(offset, length).slice();
    else readFeature(features, feature, source.readAt(offset, length), little);
  }
  return tracingData;
}

/** Bit n of the 256-bit bitmap, which is four u64 in the file's byte order. */
function hasFeature(header: DataView, feature: number, little: boolean): boolean {
  const word = 72 + 8 * Math.floor(feature / 64);
  const half = feature % 64 >= 32 === little ? 4 : 0;
  return ((header.getUint32(word + half, little) >>> (feature % 32)) & 1) === 1;
}
