import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { open, rename, rm } from 'node:fs/promises';
import { TraceError } from '../base/errors.js';
import type { CliIo, OutStream } from './command.js';

/** The reader of our output went away (`| head`): ends the run quietly with status 0. */
export class BrokenPipe extends Error {}

/** Where results go: standard output, or a file that appears under its name only when it is whole. */
export interface Target {
  readonly stream: OutStream | null;
  write(text: string): Promise<void>;
  /** Makes the output final. */
  finish(): Promise<void>;
  /** Removes what was written to a file so far. */
  abandon(): Promise<void>;
}

/** Writes to a stream and waits where it is full. Throws BrokenPipe when its reader is gone. */
export async function writeTo(stream: OutStream, text: string): Promise<void> {
  const state = stream as OutStream & { readonly destroyed?: boolean; readonly writableNeedDrain?: boolean };
  if (state.destroyed === true || brokenStreams.has(stream)) throw new BrokenPipe();
  if (stream.write(text)) return;
  const closed = new AbortController();
  try {
    await Promise.race([
      once(stream, 'drain', { signal: closed.signal }),
      once(stream, 'close', { signal: closed.signal }),
    ]);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EPIPE') throw new BrokenPipe();
    throw error;
  } finally {
    closed.abort();
  }
}

const brokenStreams = new WeakSet<OutStream>();

/** Turns EPIPE of a stream from an exception into BrokenPipe at the next write; other errors stay errors. */
export function guardPipe(stream: OutStream): () => void {
  const onError = (error: NodeJS.ErrnoException): void => {
    if (error.code !== 'EPIPE') throw error;
    brokenStreams.add(stream);
  };
  stream.on('error', onError);
  return () => stream.off('error', onError);
}

/** Opens the target before any work is done, so that a wrong path fails at once. `-` and undefined: standard output. */
export async function openTarget(path: string | undefined, io: CliIo): Promise<Target> {
  if (path === undefined || path === '-') {
    return {
      stream: io.stdout,
      write: (text) => writeTo(io.stdout, text),
      finish: async () => {},
      abandon: async () => {},
    };
  }
  const temporary = `${path}.${randomBytes(4).toString('hex')}.part`;
  const file = await open(temporary, 'wx').catch((cause: NodeJS.ErrnoException) => {
    throw new TraceError('usage', `${path}: cannot be written: ${reasonOf(cause)}`, { input: path, cause });
  });
  return {
    stream: null,
    write: async (text) => {
      await file.writeFile(text);
    },
    finish: async () => {
      await file.close();
      await rename(temporary, path);
    },
    abandon: async () => {
      await file.close();
      await rm(temporary, { force: true });
    },
  };
}

const REASONS: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EPERM: 'not permitted',
  ENOENT: 'no such file or folder',
  EISDIR: 'it is a folder',
  ENOTDIR: 'a part of the path is not a folder',
  ENOSPC: 'no space left on the device',
  EROFS: 'the file system is read-only',
};

/** A system error in words, without its path and call. */
export function reasonOf(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code;
  return code === undefined ? String(error) : (REASONS[code] ?? code);
}

/** Writes all chunks to the target named by `path`; a failure or Ctrl-C leaves no partial file. */
export async function emit(
  path: string | undefined,
  io: CliIo,
  chunks: (target: Target) => AsyncIterable<string> | Iterable<string>,
): Promise<void> {
  const target = await openTarget(path, io);
  try {
    for await (const chunk of chunks(target)) await target.write(chunk);
    await target.finish();
  } catch (error) {
    await target.abandon();
    throw error;
  }
}
