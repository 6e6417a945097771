import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { TraceError } from '../base/errors.js';

/** SHA-256 of a file as it lies on disk, in hex, read in 1 MiB pieces. Throws TraceError where it cannot be read. */
export async function sha256Of(path: string, signal?: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  try {
    const pieces = createReadStream(path, { highWaterMark: 1 << 20, ...(signal ? { signal } : {}) });
    for await (const piece of pieces) hash.update(piece as Uint8Array);
  } catch (error) {
    if (signal?.aborted) throw new TraceError('cancelled', 'interrupted', { input: path, cause: error });
    throw new TraceError('not-found', `cannot read ${path}: ${(error as Error).message}`, {
      input: path,
      cause: error,
    });
  }
  return hash.digest('hex');
}
