import { Command } from 'commander';
import { basename } from 'node:path';
import { formatBytes, formatCount } from '../../base/units.js';
import { TraceError } from '../../base/errors.js';
import type { BuildCommand } from '../command.js';
import { readRuleSettings } from '../config.js';
import { addExamples, addInputOptions, addRuleOptions, type InputOptions, type RuleOptions } from '../options.js';
import { makeProgress } from '../progress.js';

interface ImportOptions extends InputOptions, RuleOptions {
  readonly db?: string;
  readonly parquet?: string;
  readonly quiet?: boolean;
  readonly verbose?: boolean;
}

/** `import`: traces → a database with events, replay and findings, which the other commands then read. */
export const buildImport: BuildCommand = (cli) => {
  const command = new Command('import')
    .summary('write a DuckDB file that the other commands, and you, can query')
    .description(
      'Imports traces into a DuckDB file: events, replayed state and findings. The file appears when it is whole.',
    )
    .argument('<input...>', 'traces of one run, or a folder saved by a capture')
    .option('--db <file>', 'database to write (an older one is replaced)')
    .option('--parquet <dir>', 'write Parquet files to DIR/host=…/trace=…/')
    .option('-q, --quiet', 'nothing but errors')
    .option('-v, --verbose', 'one line a stage')
    .option('--no-color', 'no colour')
    .option('--debug', 'show where in gmemtrace an error was raised');
  addInputOptions(command);
  addRuleOptions(command);
  addExamples(command, [
    ['import trace.dat --db run.duckdb', 'then: gmemtrace analyze run.duckdb'],
    ['import host.txt hyp.txt --db run.duckdb', 'two files of one run'],
    ['import trace.dat --parquet fleet/', 'for a fleet that is queried elsewhere'],
  ]);
  return command.action(async (inputs: string[], options: ImportOptions) => {
    const { db, parquet } = options;
    if (db === undefined && parquet === undefined) {
      throw new TraceError('usage', 'import needs --db FILE or --parquet DIR', {
        hint: `gmemtrace import ${inputs.join(' ')} --db ${basename(inputs[0]!).split('.')[0]!}.duckdb`,
      });
    }
    const { importTraces } = await import('../importing.js');
    const rules = await readRuleSettings(options);
    const { quiet = false, verbose = false } = options;
    const progress = makeProgress(cli.io.stderr, { quiet, verbose, now: () => performance.now() });
    const written = await importTraces(cli, inputs, { ...options, rules, progress }).finally(() => progress.end());
    if (quiet) return;
    const size = written.bytes === null ? '' : `, ${formatBytes(written.bytes)}`;
    cli.io.stderr.write(`wrote ${written.path}: ${formatCount(written.events)} events${size}\n`);
  });
};
