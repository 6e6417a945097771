import { Command, Option } from 'commander';
import {
  EXIT_EVENTS,
  EXIT_ORDERS,
  GROUPING_NAMES,
  LATENCY_SECTIONS,
  parseGroupings,
  parseSections,
  readLatencySections,
  readUnit,
} from '../../report/index.js';
import type { BuildCommand } from '../command.js';
import {
  addExamples,
  addInputOptions,
  addOutputOptions,
  parseCount,
  type InputOptions,
  type OutputOptions,
} from '../options.js';
import { emit } from '../output.js';
import { formatsOf, outputNamed, renderOptions } from '../rendering.js';

interface LatencyOptions extends OutputOptions, InputOptions {
  readonly by: string;
  readonly where?: string;
  readonly slowest: number;
  readonly show: string;
  readonly exits: (typeof EXIT_EVENTS)[number];
  readonly sort: (typeof EXIT_ORDERS)[number];
}

/** `latency`: conversions by group and phase, their sizes, exits, memory faults over time. */
export const buildLatency: BuildCommand = (cli) => {
  const command = new Command('latency')
    .summary('how long conversions and exits take, by direction, size, phase, reason')
    .description(
      'Latency of conversions as the guest saw it, whole and by phase; sizes, exits to userspace and from the guest (as ' +
        'perf kvm stat report counts them), memory faults over time. Percentiles are exact.',
    )
    .argument('<input...>', 'traces of one run, a folder saved by a capture, or one .duckdb')
    .option('--by <list>', `what to group by (comma list): ${GROUPING_NAMES.join(', ')}`, 'direction')
    .option(
      '--where <sql>',
      'only conversions that fit: SQL over the columns of table conversion, latency_ns and pages',
    )
    .option('--slowest <n>', 'list the n slowest with their phases', parseCount('--slowest'), 5)
    .option('--show <list>', `parts to show (comma list): ${LATENCY_SECTIONS.join(', ')}`, LATENCY_SECTIONS.join(','))
    .addOption(
      new Option('--exits <event>', 'what exits from the guest are told by').choices(EXIT_EVENTS).default('vmexit'),
    )
    .addOption(
      new Option('--sort <key>', 'order of these: most samples or longest mean time first')
        .choices(EXIT_ORDERS)
        .default('samples'),
    );
  addOutputOptions(command, formatsOf('latency'));
  addInputOptions(command);
  addExamples(command, [
    ['latency trace.dat', 'all of it, by direction'],
    [
      'latency trace.dat --by vm,outcome --where "request_ns > 57000000000"',
      'VMs apart, a part of the run, refused ones, too',
    ],
    [
      'latency trace.dat --show guest-exits --exits mmio --sort time',
      'as perf kvm stat report --event mmio --key time',
    ],
  ]);
  return command.action(async (inputs: string[], options: LatencyOptions) => {
    const { withSession } = await import('../session.js');
    const output = outputNamed(options.format, 'latency');
    const wanted = {
      by: parseGroupings(options.by),
      slowest: options.slowest,
      show: parseSections(options.show),
      exits: options.exits,
      order: options.sort,
      ...(options.where === undefined ? {} : { where: options.where }),
    };
    await emit(options.output, cli.io, async function* (target) {
      const { sections, unit } = await withSession(cli, inputs, { ...options, until: 'replay' }, async (store) => ({
        sections: await readLatencySections(store, wanted),
        unit: await readUnit(store),
      }));
      yield* output(sections, renderOptions(cli, target, options, { unit }));
    });
  });
};
