import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { open, realpath, rename, rm, stat, type FileHandle } from 'node:fs/promises';
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

/** Writes to a stream and waits where it is full. Throws BrokenPipe when its reader is gone, TraceError when nothing more can be written. */
export async function writeTo(stream: OutStream, text: string): Promise<void> {
  const state = stream as OutStream & { readonly destroyed?: boolean; readonly writableNeedDrain?: boolean };
  throwIfFailed(stream);
  if (state.destroyed === true) throw new BrokenPipe();
  if (stream.write(text)) return;
  const closed = new AbortController();
  try {
    await Promise.race([
      once(stream, 'drain', { signal: closed.signal }),
      once(stream, 'close', { signal: closed.signal }),
    ]);
  } catch (error) {
    throw writeError(error);
  } finally {
    closed.abort();
  }
}

/** The first error of each stream: it comes as an event, after the write that it is about. */
const streamErrors = new WeakMap<OutStream, NodeJS.ErrnoException>();

function throwIfFailed(stream: OutStream): void {
  const error = streamErrors.get(stream);
  if (error !== undefined) throw writeError(error);
}

function writeError(error: unknown, path = 'the output'): Error {
  return (error as NodeJS.ErrnoException).code === 'EPIPE' ? new BrokenPipe() : unwritable(path, error);
}

/** Waits until all that was written has gone out. Errors as those of writeTo. */
export async function flush(stream: OutStream): Promise<void> {
  if ((stream as { readonly destroyed?: boolean }).destroyed !== true) {
    await new Promise<void>((resolve) => stream.write('', () => resolve()));
  }
  throwIfFailed(stream);
}

/** Keeps errors of a stream for the next write or flush, which throws them. */
export function guardPipe(stream: OutStream): () => void {
  const onError = (error: NodeJS.ErrnoException): void => {
    if (!streamErrors.has(stream)) streamErrors.set(stream, error);
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
  const found = await stat(path).catch(() => null);
  if (found?.isDirectory() === true) {
    throw new TraceError('usage', `${path}: cannot be written: it is a folder`, { input: path });
  }
  // A pipe or device (/dev/stdout) is written to: a file must never take its place.
  if (found?.isFile() === false) return directTarget(await openFile(path, path, 'w'), path);
  // A link stays a link: the file that it names is replaced.
  const place = found === null ? path : await realpath(path);
  const temporary = `${place}.${randomBytes(4).toString('hex')}.part`;
  const file = await openFile(temporary, path, 'wx');
  return {
    stream: null,
    write: (text) => append(file, text, path),
    finish: async () => {
      await file.close();
      await rename(temporary, place);
    },
    abandon: async () => {
      await file.close();
      await rm(temporary, { force: true });
    },
  };
}

/** Opens a file for writing; errors name the path that the user gave. */
async function openFile(path: string, named: string, flags: 'w' | 'wx' | 'a'): Promise<FileHandle> {
  return await open(path, flags).catch((cause: unknown) => {
    throw unwritable(named, cause);
  });
}

async function append(file: FileHandle, text: string, named: string): Promise<void> {
  await file.appendFile(text).catch((cause: unknown) => {
    throw writeError(cause, named);
  });
}

function unwritable(path: string, cause: unknown): TraceError {
  return new TraceError('usage', `${path}: cannot be written: ${reasonOf(cause)}`, { input: path, cause });
}

/** Writes to what is open already; nothing is to be put in its place or taken back. */
function directTarget(file: FileHandle, path: string): Target {
  const close = (): Promise<void> => file.close();
  return {
    stream: null,
    write: (text) => append(file, text, path),
    finish: close,
    abandon: close,
  };
}

/** Opens a file that is added to. `-`: standard output. */
export async function openAppending(path: string, io: CliIo): Promise<Target> {
  return path === '-' ? await openTarget(path, io) : directTarget(await openFile(path, path, 'a'), path);
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
