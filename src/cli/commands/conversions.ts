import { Command } from 'commander';
import { readConversions, readUnit, type ConversionFilter } from '../../report/index.js';
import type { BuildCommand } from '../command.js';
import {
  addExamples,
  addInputOptions,
  addLimitOption,
  addOutputOptions,
  parseCount,
  type InputOptions,
  type OutputOptions,
} from '../options.js';
import { emit } from '../output.js';
import { formatsOf, limitOf, outputNamed, renderOptions } from '../rendering.js';

interface ConversionsOptions extends OutputOptions, InputOptions {
  readonly slowest?: number;
  readonly where?: string;
}

/** `conversions`: one row a conversion. */
export const buildConversions: BuildCommand = (cli) => {
  const command = new Command('conversions')
    .summary('one row a conversion')
    .description('Lists conversions in order of request, or the slowest first.')
    .argument('<input...>', 'traces of one run, a folder saved by a capture, or one .duckdb')
    .option('--slowest <n>', 'the n slowest, slowest first', parseCount('--slowest'))
    .option('--where <sql>', 'only those that fit: SQL over the columns of table conversion, latency_ns and pages');
  addOutputOptions(command, formatsOf('conversions'));
  addLimitOption(command, 'conversions (default: 100 in text and markdown, all in json and csv)');
  addInputOptions(command);
  addExamples(command, [
    ['conversions trace.dat --slowest 10', 'the ten that took longest'],
    ['conversions trace.dat --where "outcome = \'failed\' AND pages > 16"', 'large ones that failed'],
    ['conversions trace.dat --format json', 'all of them, for another program (schema/conversions.schema.json)'],
  ]);
  return command.action(async (inputs: string[], options: ConversionsOptions) => {
    const { openSession } = await import('../session.js');
    const output = outputNamed(options.format, 'conversions');
    const limit = limitOf(options, 100);
    const filter: ConversionFilter = {
      ...(options.where === undefined ? {} : { where: options.where }),
      ...(options.slowest === undefined ? {} : { slowest: options.slowest }),
      ...(limit === 0 ? {} : { limit }),
    };
    await emit(options.output, cli.io, async function* (target) {
      const session = await openSession(cli, inputs, { ...options, until: 'replay' });
      try {
        const unit = await readUnit(session.store);
        yield* output(await readConversions(session.store, filter), renderOptions(cli, target, options, { unit }));
      } finally {
        await session.close();
      }
    });
  });
};
