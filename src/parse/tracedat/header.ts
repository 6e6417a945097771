import { TraceError } from '../../base/errors.js';
import type { ByteCursor } from '../byte-cursor.js';
import { hasTracingMagic } from '../tracing-data.js';

/** Start of every trace.dat (trace-cmd: Documentation/trace-cmd/trace-cmd.dat.v6.5.txt and .v7.5.txt). */
export interface FileHeader {
  readonly version: 6 | 7;
  readonly bigEndian: boolean;
  /** Bytes of one ring-buffer page of the top buffer. */
  readonly pageSize: number;
  /** `none`, `zlib`, `zstd`; `none` in version 6. */
  readonly compression: string;
  /** Where the first options section starts; 0 in version 6 and in an unfinished recording. */
  readonly optionsOffset: number;
  /** First byte behind the header. */
  readonly end: number;
}

/** Sub-buffers are 1 to 65536 pages in the kernel (ring_buffer_subbuf_order_set); anything else is damage. */
const LARGEST_PAGE = 1 << 28;

/**
 * Reads the header at the cursor (byte 0).
 * Throws TraceError: `unknown-format`, `unsupported-version`, `truncated`, `corrupt`.
 */
export function readFileHeader(cursor: ByteCursor): FileHeader {
  if (!hasTracingMagic(cursor.bytes(10))) throw new TraceError('unknown-format', 'does not start as a trace.dat does');
  const name = cursor.zString();
  if (name !== '6' && name !== '7') {
    throw new TraceError('unsupported-version', `trace.dat version ${JSON.stringify(name)} is not known`, {
      hint: 'gmemtrace reads versions 6 and 7, which trace-cmd writes since 2010',
    });
  }
  cursor.bigEndian = cursor.u8() === 1;
  cursor.skip(1);
  const pageSize = checkPageSize(cursor.u32());
  const { bigEndian } = cursor;
  if (name === '6') return { version: 6, bigEndian, pageSize, compression: 'none', optionsOffset: 0, end: cursor.pos };
  const compression = cursor.zString();
  cursor.zString();
  const optionsOffset = cursor.size();
  if (compression !== 'none' && compression !== 'zlib' && compression !== 'zstd') {
    throw new TraceError('unsupported-version', `compression ${JSON.stringify(compression)} is not known`, {
      hint: 'gmemtrace reads none, zlib and zstd',
    });
  }
  return { version: 7, bigEndian, pageSize, compression, optionsOffset, end: cursor.pos };
}

/** A ring-buffer page size of the file, in bytes; TraceError('corrupt') where no kernel has such. */
export function checkPageSize(size: number): number {
  if (size < 64 || size > LARGEST_PAGE) throw new TraceError('corrupt', `ring-buffer page size ${size} cannot be`);
  return size;
}
