import { Command } from 'commander';
import type { Store } from '../../store/db.js';
import type { BuildCommand, Cli } from '../command.js';
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

interface SqlOptions extends OutputOptions, InputOptions {
  readonly allowFiles?: boolean;
}

async function readAll(stream: NodeJS.ReadableStream): Promise<string> {
  let text = '';
  for await (const chunk of stream) text += String(chunk);
  return text;
}

/** One query: its rows to the target; what the limit hides is said on standard error. */
async function runQuery(
  cli: Cli,
  store: Store,
  { query, options }: { query: string; options: SqlOptions },
): Promise<void> {
  const { readQuery } = await import('../query.js');
  const output = outputNamed(options.format, 'table');
  await emit(options.output, cli.io, async function* (target) {
    const { table, total } = await readQuery(store, query, limitOf(options, 1000));
    yield* output(table, renderOptions(cli, target, options));
    if (table.rows.length < total && !options.quiet) {
      cli.io.stderr.write(`note: showing ${table.rows.length} of ${total} rows; --limit 0 shows all\n`);
    }
  });
}

/** `sql`: one query, or a shell. */
export const buildSql: BuildCommand = (cli) => {
  const command = new Command('sql')
    .summary('one query against the database, or a shell')
    .description(
      'Runs a query (DuckDB SQL) on a database made by import, or on a trace. Without a query: a shell on a terminal, ' +
        'else the query is read from standard input. Files and settings cannot be touched but with --allow-files.',
    )
    .argument('<input>', 'a .duckdb made by import, or a trace')
    .argument('[query]', 'the query')
    .option('--allow-files', 'let the query read and write files');
  addOutputOptions(command, formatsOf('table'));
  addLimitOption(command, 'rows (default: 1000 in text and markdown)');
  addInputOptions(command);
  addExamples(command, [
    ['sql run.duckdb "SELECT rule, count FROM finding"', 'one query'],
    ['sql run.duckdb "SELECT * FROM conversion" --format csv', 'rows for a spreadsheet'],
    ['sql run.duckdb', 'a shell; .tables and .schema NAME show what there is'],
  ]);
  return command.action(async (input: string, query: string | undefined, options: SqlOptions) => {
    const { openSession } = await import('../session.js');
    const { readRuleSettings } = await import('../config.js');
    const rules = await readRuleSettings({ rules: [], select: [], ignore: [], param: [] });
    const isShell = query === undefined && cli.io.stdin.isTTY === true;
    const text = query ?? (isShell ? '' : await readAll(cli.io.stdin));
    const session = await openSession(cli, [input], {
      ...options,
      until: rules,
      unlocked: options.allowFiles ?? false,
    });
    try {
      if (!isShell) return await runQuery(cli, session.store, { query: text, options });
      const { runShell } = await import('../shell.js');
      await runShell(cli, session.store, (line) => runQuery(cli, session.store, { query: line, options }));
    } finally {
      await session.close();
    }
  });
};
