import { Command } from 'commander';
import { TraceError } from '../../base/errors.js';
import {
  buildChanges,
  readGmemIds,
  readSpan,
  readStateAt,
  readUnit,
  type StateFilter,
  type StateReport,
} from '../../report/index.js';
import type { Store } from '../../store/db.js';
import type { BuildCommand } from '../command.js';
import {
  addExamples,
  addInputOptions,
  addLimitOption,
  addOutputOptions,
  type InputOptions,
  type OutputOptions,
} from '../options.js';
import { emit } from '../output.js';
import { formatsOf, limitOf, outputNamed, renderOptions } from '../rendering.js';
import { parseHandle, parseInstant, parseRange } from '../times.js';

interface StateOptions extends OutputOptions, InputOptions {
  readonly at?: string;
  readonly diff?: readonly string[];
  readonly gmem?: string;
  readonly offset?: string;
  readonly gpa?: string;
}

function filterOf(options: StateOptions): StateFilter {
  return {
    ...(options.gmem === undefined ? {} : { gmem: parseHandle(options.gmem, 'gmem') }),
    ...(options.offset === undefined ? {} : { offset: parseRange(options.offset, '--offset') }),
    ...(options.gpa === undefined ? {} : { gpa: parseRange(options.gpa, '--gpa') }),
  };
}

/** `--at T`, or `--diff T1 T2` as [T1, T2]; without either the end of the trace. */
function instantsOf(options: StateOptions): readonly [string, string | null] {
  if (options.diff === undefined) return [options.at ?? 'end', null];
  if (options.at !== undefined) throw new TraceError('usage', '--at and --diff exclude each other');
  const [from, to] = options.diff.flatMap((word) => word.split('..')).filter((word) => word !== '');
  if (from === undefined || to === undefined || options.diff.length > 2) {
    throw new TraceError('usage', '--diff takes two times', { hint: 'like --diff +1s..+2s' });
  }
  return [from, to];
}

/** @throws TraceError for a guest_memfd that the trace does not show */
async function checkGmem(store: Store, { gmem }: StateFilter): Promise<void> {
  if (gmem === undefined) return;
  const known = await readGmemIds(store);
  if (known.includes(gmem)) return;
  const names = known.length > 0 ? known.map((id) => `gmem${id}`).join(', ') : 'none';
  throw new TraceError('usage', `no guest_memfd gmem${gmem} in this trace`, { hint: `it shows ${names}` });
}

async function readReport(store: Store, options: StateOptions, filter: StateFilter): Promise<StateReport> {
  const span = await readSpan(store);
  const [at, until] = instantsOf(options);
  const atNs = parseInstant(at, span);
  const untilNs = until === null ? null : parseInstant(until, span);
  for (const ns of untilNs === null ? [atNs] : [atNs, untilNs]) {
    if (span.first === null || span.last === null || ns < span.first || ns > span.last) {
      throw new TraceError(
        'usage',
        `${ns} ns lies outside the trace, which goes from ${span.first} to ${span.last} ns`,
        {
          hint: 'times are on the trace’s own clock; +1.2s counts from its first event',
        },
      );
    }
  }
  if (untilNs !== null && untilNs < atNs) {
    throw new TraceError('usage', `--diff ${at} ${until}: the second instant lies before the first`);
  }
  await checkGmem(store, filter);
  const ranges = await readStateAt(store, atNs, filter);
  const changes = untilNs === null ? [] : buildChanges(ranges, await readStateAt(store, untilNs, filter));
  return {
    atNs,
    untilNs,
    startNs: span.first,
    ranges: untilNs === null ? ranges : [],
    changes,
    limit: limitOf(options, 100),
  };
}

/** `state`: what guest memory was at an instant, or what changed between two. */
export const buildState: BuildCommand = (cli) => {
  const command = new Command('state')
    .summary('what guest memory was at an instant, or what changed between two')
    .description(
      'Private, shared, converting or unallocated: each range of guest_memfd at an instant, and how sure that is.',
    )
    .argument('<input...>', 'traces of one run, a folder saved by a capture, or one .duckdb')
    .option(
      '--at <time>',
      'instant: 57.311 (seconds as traces print them), 57311000000ns, +1.2s, start, end (default: end)',
    )
    .option('--diff <t1..t2>', 'what changed between two instants: --diff T1..T2', (word, all: string[] = []) => [
      ...all,
      word,
    ])
    .option('--gmem <id>', 'this guest_memfd only (gmem1)')
    .option('--offset <range>', 'this part of guest_memfds only: 0x200000+2M')
    .option('--gpa <range>', 'this part of guest memory only: 0x100045000+16K');
  addOutputOptions(command, formatsOf('state'));
  addLimitOption(command, 'ranges (default: 100 in text)');
  addInputOptions(command);
  addExamples(command, [
    ['state trace.dat --at +1.2s', 'all ranges 1.2 s after the first event'],
    ['state trace.dat --at 57.311 --gpa 0x100045000+16K', 'a range of guest memory'],
    ['state trace.dat --diff +1s..+2s', 'what changed within that second'],
  ]);
  return command.action(async (inputs: string[], options: StateOptions) => {
    const { withSession } = await import('../session.js');
    const output = outputNamed(options.format, 'state');
    const filter = filterOf(options);
    instantsOf(options);
    await emit(options.output, cli.io, async function* (target) {
      const { report, unit } = await withSession(cli, inputs, { ...options, until: 'replay' }, async (store) => ({
        report: await readReport(store, options, filter),
        unit: await readUnit(store),
      }));
      yield* output(report, renderOptions(cli, target, options, { unit }));
    });
  });
};
