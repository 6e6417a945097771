/** What gmemtrace says of some files: the documents of `analyze` and `conversions`, made in this process from one import. */
import { Readable, Writable } from 'node:stream';
import { openSession } from '../../src/cli/session.js';
import type { Cli } from '../../src/cli/command.js';
import { readAnalysis, readConversions } from '../../src/report/index.js';
import { jsonOutput } from '../../src/report/json/index.js';
import { PLAIN, type Chunks } from '../../src/report/render.js';

/** A number as the JSON contract has it. */
export type JsonNumber = number | string | null;

export interface AnswerAttempt {
  readonly start_ns: JsonNumber;
  readonly end_ns: JsonNumber;
  readonly errno: number | null;
  readonly error_offset: JsonNumber;
}

export interface AnswerConversion {
  readonly id: number;
  readonly vm: number | null;
  readonly vcpu: number | null;
  readonly gmem: number | null;
  readonly gpa: JsonNumber;
  readonly offset: JsonNumber;
  readonly size: JsonNumber;
  readonly direction: string | null;
  readonly origin: string;
  readonly request: string;
  readonly mechanism: string;
  readonly outcome: string;
  readonly request_ns: JsonNumber;
  readonly exit_ns: JsonNumber;
  readonly commit_ns: JsonNumber;
  readonly resume_ns: JsonNumber;
  readonly attempts: readonly AnswerAttempt[];
  readonly certainty: string;
}

export interface AnswerFinding {
  readonly rule: string;
  readonly severity: string;
  readonly verdict: string;
  readonly vm: number | null;
  readonly title: string;
}

export interface AnswerAnalysis {
  readonly traces: readonly {
    readonly start_ns: JsonNumber;
    readonly end_ns: JsonNumber;
    readonly events: number;
    readonly lost: number | null;
    readonly skipped: readonly { readonly reason: string; readonly count: number; readonly first: string }[];
  }[];
  readonly vms: readonly {
    readonly id: number;
    readonly pid: number | null;
    readonly vcpus: readonly { readonly index: number | null; readonly tid: number | null }[];
  }[];
  readonly memory_faults: { readonly total: number | null };
  readonly punches: { readonly total: number | null };
  readonly reboots: readonly { readonly vm: number | null; readonly ts_ns: JsonNumber }[] | null;
  readonly findings: readonly AnswerFinding[];
  /** Rules, and what else the trace is too poor for. */
  readonly unavailable: readonly { readonly what: string; readonly missing: string }[];
}

/** Whose reference is said to have stood in the way of a conversion, bytes of the guest_memfd. */
export interface AnswerHolder {
  readonly tid: number;
  readonly offset: number;
  readonly size: number;
}

export interface Answer {
  readonly holders: readonly AnswerHolder[];
  readonly analysis: AnswerAnalysis;
  readonly conversions: readonly AnswerConversion[];
}

function quietCli(): Cli {
  const sink = (): Writable => new Writable({ write: (_chunk, _encoding, done) => done() });
  const io = { stdin: Readable.from([]) as Cli['io']['stdin'], stdout: sink(), stderr: sink(), env: {} };
  return { io, signal: new AbortController().signal, status: 0 };
}

async function parsed<T>(chunks: Chunks): Promise<T> {
  let text = '';
  for await (const chunk of chunks) text += chunk;
  return JSON.parse(text) as T;
}

/** Imports, replays and judges by all built-in rules with their defaults. Throws TraceError as the command line would. */
export async function answerTo(files: readonly string[]): Promise<Answer> {
  const until = { dirs: [], select: [], ignore: [], params: new Map<string, string>() };
  const session = await openSession(quietCli(), files, { clockOffset: [], quiet: true, until });
  try {
    const analysis = await parsed<AnswerAnalysis>(jsonOutput.analysis!(await readAnalysis(session.store), PLAIN));
    const listing = await readConversions(session.store, {});
    const { conversions } = await parsed<Pick<Answer, 'conversions'>>(jsonOutput.conversions!(listing, PLAIN));
    const rows = await session.store.rows(
      `SELECT tid, "offset", size FROM page_ref WHERE blocks_conversion IS NOT NULL AND tid IS NOT NULL AND certainty = 'observed'`,
    );
    const holders = rows.map((row) => ({
      tid: Number(row['tid']),
      offset: Number(row['offset']),
      size: Number(row['size']),
    }));
    return { analysis, conversions, holders };
  } finally {
    await session.close();
  }
}
