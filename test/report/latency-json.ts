/** What `gmemtrace latency --format json` says, held against its schema. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import Ajv2020 from 'ajv/dist/2020.js';
import { expect } from 'vitest';
import type { Cli, CliIo } from '../../src/cli/command.js';
import { openSession, type Session } from '../../src/cli/session.js';
import { renderLatency } from '../../src/report/json/latency.js';
import { LATENCY_SECTIONS, readLatencySections, type SectionOptions } from '../../src/report/latency-sections.js';
import { PLAIN } from '../../src/report/render.js';
import type { Store } from '../../src/store/db.js';
import { makeSink, runCli } from '../cli/run-cli.js';

export interface JsonStats {
  readonly count: number;
  readonly min: number;
  readonly mean: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly p99_9: number;
  readonly max: number;
}

export interface JsonExit {
  readonly reason: string;
  readonly vm: number | null;
  readonly vcpu: number | null;
  readonly samples_percent: number;
  readonly time_percent: number;
  readonly time_ns: JsonStats;
  readonly stddev_ns: number | null;
  readonly error_percent: number;
}

export interface JsonLatency {
  readonly clock_unit: string;
  readonly conversions: {
    readonly groups: readonly {
      readonly key: Readonly<Record<string, string | null>>;
      readonly count: number;
      readonly pages: number | null;
      readonly pages_per_s: number | null;
      readonly exits_per_page: number | null;
      readonly whole_ns: JsonStats;
      readonly phases_ns: readonly (JsonStats & { readonly phase: string })[];
      readonly retry_wait_ns: JsonStats;
    }[];
    readonly slowest: readonly object[];
  };
  readonly sizes: {
    readonly count: number;
    readonly mergeable: number;
    readonly runs: number;
    readonly unknown: number;
    readonly buckets: readonly { readonly from_pages: number; readonly count: number; readonly mergeable: number }[];
  };
  readonly user_exits: {
    readonly reasons: readonly {
      readonly reason: string;
      readonly vm: number | null;
      readonly vcpu: number | null;
      readonly count: number;
      readonly time_ns: JsonStats;
    }[];
  } | null;
  readonly guest_exits: {
    readonly event: string;
    readonly missing: readonly string[];
    readonly samples: number;
    readonly total_ns: number;
    readonly reasons: readonly JsonExit[];
    readonly unmatched: { readonly early: number; readonly unended: number; readonly unbegun: number };
    readonly over_loss: number;
  };
  readonly memory_faults: {
    readonly total: number;
    readonly bucket_ns: number;
    readonly by_vm: readonly {
      readonly vm: number | null;
      readonly count: number;
      readonly counts: readonly number[];
    }[];
  } | null;
}

const ajv = new Ajv2020.default({ strict: true, allowUnionTypes: true, allErrors: true });
const schema = JSON.parse(readFileSync(new URL('../../schema/latency.schema.json', import.meta.url), 'utf8')) as object;
const validate = ajv.compile(schema);

/** Opens a trace as the command does. The caller closes the session. */
export function openTraces(...paths: string[]): Promise<Session> {
  const io = { stdin: Readable.from([]) as CliIo['stdin'], stdout: makeSink(false), stderr: makeSink(false), env: {} };
  const cli: Cli = { io, signal: new AbortController().signal, status: 0 };
  return openSession(cli, paths, { clockOffset: [], quiet: true, until: 'replay' });
}

/** Parts of the report of a store, as JSON that is valid. */
export async function latencyOfStore(store: Store, options: Partial<SectionOptions>): Promise<JsonLatency> {
  const all = { by: ['direction'], slowest: 5, show: LATENCY_SECTIONS, exits: 'vmexit', order: 'samples' } as const;
  const sections = await readLatencySections(store, { ...all, ...options });
  return checked([...renderLatency(sections, PLAIN)].join(''));
}

function checked(json: string): JsonLatency {
  const document: unknown = JSON.parse(json);
  expect(validate(document) ? [] : validate.errors).toEqual([]);
  return document as JsonLatency;
}

/** Runs `work` with the path of a file that holds a trace's text. */
export async function withTrace<T>(text: string, work: (path: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'gmemtrace-latency-'));
  try {
    const path = join(folder, 'story.txt');
    writeFileSync(path, text);
    return await work(path);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Runs `latency FILE ARGS --format json`; the document is valid. */
export async function latencyOf(path: string, ...args: string[]): Promise<JsonLatency> {
  const { status, stdout, stderr } = await runCli(['latency', path, ...args, '--format', 'json', '--quiet']);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return checked(stdout);
}

/** The same of a story's text. */
export function latencyOfText(text: string, ...args: string[]): Promise<JsonLatency> {
  return withTrace(text, (path) => latencyOf(path, ...args));
}
