import { mkdir, open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Command, Option } from 'commander';
import { formatCount } from '../../base/units.js';
import { TraceError } from '../../base/errors.js';
import type { BuildCommand } from '../command.js';
import { addExamples } from '../options.js';
import { reasonOf } from '../output.js';
import { LOSS_MARKS, MECHANISMS, PLATFORMS, SOURCES } from '../../simulate/options.js';
import type { EventSource, SimulateOptions } from '../../simulate/options.js';
import type { SimulatedRun } from '../../simulate/index.js';

interface Options extends Partial<Omit<SimulateOptions, 'sources'>> {
  readonly out: string;
  readonly sources?: readonly EventSource[];
  readonly quiet?: boolean;
}

/** `simulate`: a synthetic trace, and the truth of what happened in it. */
export const buildSimulate: BuildCommand = (cli) => {
  const command = new Command('simulate')
    .summary('write a synthetic trace together with its truth')
    .description(
      'Simulates confidential VMs and writes trace.txt, trace.dat, probes.txt, and the truth of the run (truth.json, capture.json). The same options give the same bytes.',
    )
    .addOption(new Option('--platform <name>', 'kind of VM').choices(PLATFORMS).makeOptionMandatory())
    .addOption(
      new Option('--mechanism <name>', "what converts memory (default: the platform's first)").choices(MECHANISMS),
    )
    .option('--seed <n>', 'a number that decides everything else', parseCount('--seed'))
    .option('--vms <n>', 'VMs', parseCount('--vms'))
    .option('--vcpus <n>', 'vCPUs of each VM', parseCount('--vcpus'))
    .option('--conversions <n>', 'conversions that guests wish for, over all VMs', parseCount('--conversions'))
    .option('--memory <size>', 'memory of each VM, such as 256M or 4G', parseSize)
    .option('--stalls <n>', 'conversions that wait long in the VMM', parseCount('--stalls'))
    .option('--retries <n>', 'conversions that come through after failed tries', parseCount('--retries'))
    .option('--refusals <n>', 'conversions that are refused or fail', parseCount('--refusals'))
    .option('--leaks <n>', 'references that are never dropped', parseCount('--leaks'))
    .option('--unanswered <n>', 'requests that the VMM never answers', parseCount('--unanswered'))
    .option('--reboots <n>', 'reboots of guests', parseCount('--reboots'))
    .option('--reset', 'the VMM makes memory private again at a reboot')
    .option('--no-reset', 'it does not (default)')
    .option('--implicit <ratio>', 'share of implicit conversions, 0 to 1', parseRatio('--implicit'))
    .option('--lost <fraction>', 'share of the events that the recorder loses', parseRatio('--lost'))
    .option('--lost-burst <n>', 'longest stretch of events lost at once (default: 160)', parseCount('--lost-burst'))
    .addOption(
      new Option(
        '--lost-marks <how>',
        'what is told of a stretch: its count, only that it is there, or nothing',
      ).choices(LOSS_MARKS),
    )
    .option('--noise <n>', 'tasks that have nothing to do with VMs', parseCount('--noise'))
    .option('--sources <list>', `what is recorded: ${SOURCES.join(',')} (default: all)`, parseSources)
    .addOption(new Option('--clock <name>', 'clock of the trace').choices(['mono']).default('mono'))
    .requiredOption('--out <dir>', 'folder to write to')
    .option('-q, --quiet', 'nothing but errors')
    .option('--no-color', 'no colour')
    .option('--debug', 'show where in gmemtrace an error was raised');
  addExamples(command, [
    ['simulate --platform tdx --seed 7 --out run/', 'a healthy TD'],
    [
      'simulate --platform x86-sw --mechanism gmem-attributes --leaks 1 --out run/',
      'a page reference that is never dropped',
    ],
  ]);
  return command.action(async ({ out, quiet, ...given }: Options) => {
    const { completeOptions, simulate } = await import('../../simulate/index.js');
    const run = simulate(completeOptions(withoutExtras(given)));
    await writeRun(run, out);
    if (quiet === true) return;
    cli.io.stderr.write(
      `wrote ${out}: ${formatCount(run.events.length)} events, ${formatCount(run.truth.conversions.length)} conversions\n`,
    );
  });
};

/** Only what the simulation knows: commander gives a default for each `--no-` option, too. */
function withoutExtras(given: Partial<SimulateOptions>): Partial<SimulateOptions> {
  const known = [
    'platform',
    'mechanism',
    'seed',
    'vms',
    'vcpus',
    'conversions',
    'memory',
    'stalls',
    'retries',
    'refusals',
    'leaks',
    'unanswered',
    'reboots',
    'implicit',
    'lost',
    'lostBurst',
    'lostMarks',
    'noise',
    'sources',
    'reset',
  ] as const;
  return Object.fromEntries(known.filter((name) => given[name] !== undefined).map((name) => [name, given[name]]));
}

async function writeRun(run: SimulatedRun, out: string): Promise<void> {
  const { captureOf, textLines, truthOf, writeProbeDefinitions, writeTraceDat } =
    await import('../../simulate/index.js');
  try {
    await makeFolder(out);
    const text = await open(join(out, 'trace.txt'), 'w');
    try {
      let chunk: string[] = [];
      for (const line of textLines(run)) {
        chunk.push(line);
        if (chunk.length < 4096) continue;
        await text.write(chunk.join(''));
        chunk = [];
      }
      await text.write(chunk.join(''));
    } finally {
      await text.close();
    }
    await writeFile(join(out, 'trace.dat'), writeTraceDat(run));
    const probes = run.definitions.flatMap(({ probe }) => probe ?? []);
    if (probes.length > 0) await writeFile(join(out, 'probes.txt'), writeProbeDefinitions(probes));
    await writeFile(join(out, 'truth.json'), `${JSON.stringify(truthOf(run), null, 1)}\n`);
    await writeFile(join(out, 'capture.json'), `${JSON.stringify(captureOf(run), null, 1)}\n`);
  } catch (cause) {
    if (cause instanceof TraceError || (cause as NodeJS.ErrnoException).code === undefined) throw cause;
    throw new TraceError('usage', `${out}: cannot be written: ${reasonOf(cause)}`, { input: out, cause });
  }
}

/** The folder may be there already; the one that it is in must be (Node's own way of making both never ends in /proc). */
async function makeFolder(path: string): Promise<void> {
  await mkdir(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error;
  });
}

function parseCount(name: string): (text: string) => number {
  return (text) => {
    if (/^\d{1,9}$/.test(text)) return Number(text);
    throw new TraceError('usage', `${name} ${text}: a whole number is needed`);
  };
}

function parseRatio(name: string): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() !== '' && value >= 0 && value <= 1) return value;
    throw new TraceError('usage', `${name} ${text}: a number from 0 to 1 is needed`);
  };
}

const UNITS: Readonly<Record<string, number>> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };

function parseSize(text: string): number {
  const match = /^(\d{1,12})([KMGT]?)(?:i?B)?$/.exec(text);
  if (match) return Number(match[1]) * UNITS[match[2]!]!;
  throw new TraceError('usage', `--memory ${text}: a size such as 256M or 4G is needed`);
}

function parseSources(text: string): EventSource[] {
  const names = text.split(',').map((name) => name.trim());
  const unknown = names.find((name) => !SOURCES.includes(name as EventSource));
  if (unknown !== undefined) {
    throw new TraceError('usage', `--sources: unknown source "${unknown}"`, {
      hint: `there are ${SOURCES.join(', ')}`,
    });
  }
  return SOURCES.filter((source) => names.includes(source));
}
