import { Command, Option } from 'commander';
import { TraceError } from '../../base/errors.js';
import { renderCounts, renderEvents, unevaluableFmts, type EventFormat } from '../../report/events/output.js';
import { selectEvents, type EventQuery } from '../../report/events/read.js';
import { LINE_STYLES, type LineStyle } from '../../report/events/styles.js';
import { readTraces } from '../../report/model.js';
import type { Store } from '../../store/db.js';
import type { Cli } from '../command.js';
import { addExamples, addInputOptions, addLimitOption, addOutputOptions } from '../options.js';
import type { InputOptions, OutputOptions } from '../options.js';
import { emit, writeTo } from '../output.js';
import { withSession } from '../session.js';
import { parseInstant } from '../times.js';

interface EventsOptions extends InputOptions, OutputOptions {
  readonly event: readonly string[];
  readonly system: readonly string[];
  readonly task: readonly string[];
  readonly cpu: readonly number[];
  readonly from?: string;
  readonly to?: string;
  readonly where?: string;
  readonly style: LineStyle;
  readonly tgid?: boolean;
  readonly ns?: boolean;
  readonly count?: boolean;
}

const collect = (value: string, before: readonly string[]): readonly string[] => [...before, value];

function parseCpus(text: string, before: readonly number[]): readonly number[] {
  const cpus = text.split(',').flatMap((part) => {
    const ends = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(part.trim());
    const first = Number(ends?.[1] ?? NaN);
    const last = Number(ends?.[2] ?? first);
    if (!ends || last < first || last > 0xffff) {
      throw new TraceError('usage', `--cpu ${text}: not a list of CPUs`, { hint: 'write it like 0,2 or 0-3' });
    }
    return Array.from({ length: last - first + 1 }, (_, k) => first + k);
  });
  return [...before, ...cpus];
}

/** `events`: prints events in the kernel's wording, as JSON lines or CSV. Nothing is replayed. */
export function buildEvents(cli: Cli): Command {
  const command = new Command('events')
    .summary('print events')
    .description('Prints the events of traces in order of time, in the wording of the kernel or of its tools.')
    .argument('<input...>', 'traces, or one database made by import')
    .optionsGroup('Selection:')
    .option('-e, --event <glob>', 'events by name or system:name (kvm_exit, "kvm:*"); may be repeated', collect, [])
    .option('-s, --system <glob>', 'events of a system (kvm, syscalls, …); may be repeated', collect, [])
    .option('-t, --task <comm|tid>', 'events of a thread, by number or name pattern; may be repeated', collect, [])
    .option('-C, --cpu <list>', 'events of these CPUs (0,2 or 0-3)', parseCpus, [])
    .option('--from <time>', 'from this time on: 57.311, 57311000000ns, +1.2s from the first event')
    .option('--to <time>', 'before this time')
    .option('--where <sql>', 'SQL condition on ts_ns, cpu, tid, system, event and the fields')
    .optionsGroup('Look:')
    .addOption(new Option('--style <style>', 'wording and layout of text').choices(LINE_STYLES).default('kernel'))
    .option('--tgid', 'show the process id, too (kernel style)')
    .option('--ns', 'show times with nine decimals')
    .option('--count', 'only count the events, by name');
  addOutputOptions(command, ['text', 'json', 'csv']);
  addLimitOption(command, 'events');
  addInputOptions(command);
  addExamples(command, [
    ['events trace.dat -e kvm_userspace_exit -e "sys_*_ioctl"', 'exits to the VMM and its ioctls'],
    ['events trace.dat --from +1.2s --to +1.3s --task "CPU 0/KVM"', 'one thread in a tenth of a second'],
    ['events trace.dat -e kvm_exit --where "exit_reason = 1024" --format json', 'for another program'],
  ]);
  return command.action(async (inputs: string[], options: EventsOptions) => {
    await withSession(cli, inputs, { ...options, until: 'events' }, (store) => print(cli, store, options));
  });
}

async function print(cli: Cli, store: Store, options: EventsOptions): Promise<void> {
  const selection = await selectEvents(store, await queryOf(store, options));
  const format = options.format as EventFormat;
  if (options.count) {
    const text = await renderCounts(store, selection, format);
    await emit(options.output, cli.io, () => [text]);
    return;
  }
  const limit = options.limit === undefined || options.limit === 0 ? null : options.limit;
  const output = { format, style: options.style, limit, tgid: options.tgid ?? false, nanoseconds: options.ns ?? false };
  await emit(options.output, cli.io, () => cancellable(cli, renderEvents(store, selection, output)));
  if (!options.verbose || options.quiet) return;
  for (const { event, reasons } of unevaluableFmts(selection.types, options.style)) {
    await writeTo(cli.io.stderr, `note: ${event}: not all of its print fmt can be evaluated: ${reasons.join('; ')}\n`);
  }
}

async function* cancellable(cli: Cli, chunks: AsyncIterable<string>): AsyncGenerator<string> {
  for await (const chunk of chunks) {
    cli.signal.throwIfAborted();
    yield chunk;
  }
}

async function queryOf(store: Store, options: EventsOptions): Promise<EventQuery> {
  const traces = await readTraces(store);
  const first = traces.reduce<bigint | null>((least, { startNs }) => lesser(least, startNs, -1n), null);
  const last = traces.reduce<bigint | null>((most, { endNs }) => lesser(most, endNs, 1n), null);
  return {
    events: options.event,
    systems: options.system,
    tasks: options.task,
    cpus: options.cpu,
    fromNs: options.from === undefined ? null : parseInstant(options.from, { first, last }),
    toNs: options.to === undefined ? null : parseInstant(options.to, { first, last }),
    where: options.where ?? null,
  };
}

/** The smaller (`sign` -1n) or greater (1n) of two stamps of which one may be missing. */
function lesser(a: bigint | null, b: bigint | null, sign: 1n | -1n): bigint | null {
  if (a === null || b === null) return a ?? b;
  return (b - a) * sign > 0n ? b : a;
}
