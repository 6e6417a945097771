import { Command } from 'commander';
import { GROUPING_NAMES, parseGroupings, readLatency } from '../../report/index.js';
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
}

/** `latency`: percentiles by group and phase, histogram, slowest. */
export const buildLatency: BuildCommand = (cli) => {
  const command = new Command('latency')
    .summary('how long conversions take, by direction, size, phase')
    .description('Latency of conversions as the guest saw it, whole and by phase. Percentiles are exact.')
    .argument('<input...>', 'traces of one run, a folder saved by a capture, or one .duckdb')
    .option('--by <list>', `what to group by (comma list): ${GROUPING_NAMES.join(', ')}`, 'direction')
    .option('--where <sql>', 'only those that fit: SQL over the columns of table conversion, latency_ns and pages')
    .option('--slowest <n>', 'list the n slowest with their phases', parseCount('--slowest'), 5);
  addOutputOptions(command, formatsOf('latency'));
  addInputOptions(command);
  addExamples(command, [
    ['latency trace.dat', 'by direction'],
    ['latency trace.dat --by vm,direction,size', 'each VM, direction and size on its own'],
    ['latency trace.dat --by outcome --where "request_ns > 57000000000"', 'a part of the run, refused ones too'],
  ]);
  return command.action(async (inputs: string[], options: LatencyOptions) => {
    const { withSession } = await import('../session.js');
    const output = outputNamed(options.format, 'latency');
    const by = parseGroupings(options.by);
    const wanted = { by, slowest: options.slowest, ...(options.where === undefined ? {} : { where: options.where }) };
    await emit(options.output, cli.io, async function* (target) {
      const report = await withSession(cli, inputs, { ...options, until: 'replay' }, (store) =>
        readLatency(store, wanted),
      );
      yield* output(report, renderOptions(cli, target, options));
    });
  });
};
