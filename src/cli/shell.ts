/** A small SQL shell: statements end with `;`, commands begin with a dot. */
import { createInterface } from 'node:readline';
import { TraceError } from '../base/errors.js';
import { sqlText, type Store } from '../store/db.js';
import type { Cli } from './command.js';
import { didYouMean } from './suggest.js';

const HELP = `statements end with ;
.tables        tables and views
.schema NAME   columns of one
.help          this
.quit          ends (Ctrl-D, too)
`;

const DOT_COMMANDS: Readonly<Record<string, (argument: string) => string>> = {
  '.tables': () => `SELECT DISTINCT table_name AS name FROM information_schema.tables ORDER BY name`,
  '.schema': (name) =>
    `SELECT column_name, data_type FROM information_schema.columns WHERE table_name = ${sqlText(name)} ORDER BY ordinal_position`,
};

/** Reads statements until the end of input; an error is shown and the shell goes on. */
export async function runShell(cli: Cli, store: Store, runOne: (query: string) => Promise<void>): Promise<void> {
  const { stdin, stdout, stderr } = cli.io;
  const lines = createInterface({ input: stdin, output: stdout, terminal: true, prompt: 'gmemtrace> ' });
  const onInterrupt = (): void => store.interrupt();
  lines.on('SIGINT', onInterrupt);
  let statement = '';
  const attempt = async (query: string): Promise<void> => {
    try {
      await runOne(query);
    } catch (error) {
      if (!(error instanceof TraceError)) throw error;
      stderr.write(`error: ${error.message}\n`);
    }
  };
  lines.prompt();
  for await (const line of lines) {
    const text = line.trim();
    if (statement === '' && text.startsWith('.')) {
      if (text === '.quit' || text === '.exit') break;
      const [name = '', argument = ''] = text.split(/\s+/);
      const query = DOT_COMMANDS[name]?.(argument);
      if (query !== undefined) await attempt(query);
      else
        stdout.write(
          text === '.help' ? HELP : `${didYouMean(name, [...Object.keys(DOT_COMMANDS), '.help', '.quit'])}\n`,
        );
    } else if (text !== '') {
      statement += `${line}\n`;
      if (text.endsWith(';')) {
        await attempt(statement);
        statement = '';
      }
    }
    lines.setPrompt(statement === '' ? 'gmemtrace> ' : '       ... ');
    lines.prompt();
  }
  lines.close();
}
