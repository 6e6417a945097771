/** What went wrong, as a word that decides the exit status (src/cli/main.ts). */
export type ErrorCode =
  | 'usage'
  | 'spec'
  | 'not-found'
  | 'unknown-format'
  | 'truncated'
  | 'corrupt'
  | 'unsupported-version'
  | 'field-missing'
  | 'rule-invalid'
  | 'db'
  | 'cancelled'
  | 'internal';

export interface ErrorPlace {
  /** The input as the user named it. */
  readonly input?: string;
  /** Byte offset in the input (of the decompressed stream where it is compressed). */
  readonly byteOffset?: number;
  /** 1-based line of a text input. */
  readonly line?: number;
  /** 1-based column in that line. */
  readonly column?: number;
  /** One sentence on what the user can do. */
  readonly hint?: string;
  readonly cause?: unknown;
}

/** The one error that gmemtrace throws on purpose: a fact, its place, and what to do. Never shown with a stack. */
export class TraceError extends Error {
  readonly code: ErrorCode;
  readonly place: ErrorPlace;

  constructor(code: ErrorCode, message: string, place: ErrorPlace = {}) {
    super(message, place.cause === undefined ? undefined : { cause: place.cause });
    this.name = 'TraceError';
    this.code = code;
    this.place = place;
  }
}

/** Closes an exhaustive switch; reaching it is a bug. */
export function assertNever(value: never): never {
  throw new TraceError('internal', `unexpected value ${JSON.stringify(value)}`);
}
