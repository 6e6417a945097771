/** gmemtrace.config.{json,yaml,yml}: which rules judge and with which parameters, and defaults of options. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { TraceError } from '../base/errors.js';
import { EMPTY_CONFIG, type Config, type RuleSettings } from './config-model.js';
import type { RuleOptions } from './options.js';
import { reasonOf } from './output.js';

export type { RuleSettings };

/** In the working directory, where --config names none. */
const NAMES = ['gmemtrace.config.json', 'gmemtrace.config.yaml', 'gmemtrace.config.yml'];
/** Reads the configuration. Throws TraceError `spec` with the line of what is wrong, `usage` where it cannot be read. */
async function readConfig(named: string | undefined): Promise<Config> {
  const found = named === undefined ? NAMES.filter((name) => existsSync(name)) : [named];
  if (found.length > 1) {
    throw new TraceError('usage', `${found.join(' and ')}: two configurations`, { hint: 'name one with --config' });
  }
  const [path] = found;
  if (path === undefined) return EMPTY_CONFIG;
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new TraceError('usage', `${path}: cannot be read: ${reasonOf(cause)}`, { input: path, cause });
  });
  // The parser of YAML is loaded only where there is something to parse.
  return (await import('./config-file.js')).parseConfig(path, text);
}

function optionParams(options: readonly string[]): [string, string][] {
  return options.map((option) => {
    const match = /^([\w-]+\.[\w-]+)=(.*)$/.exec(option);
    if (match === null) {
      throw new TraceError('usage', `--param ${option}: not of the form rule.name=value`, {
        hint: 'like --param conversion-stall.absolute_ms=20; `gmemtrace rules NAME` lists the parameters',
      });
    }
    return [match[1]!, match[2]!];
  });
}

/** Reads the configuration (that of the working directory where none is named) and lays the options over it. */
export async function readRuleSettings(options: RuleOptions): Promise<RuleSettings> {
  const config = await readConfig(options.config);
  const own = optionParams(options.param);
  const given = new Set(own.map(([key]) => key));
  return {
    dirs: [...config.dirs, ...options.rules],
    select: options.select.length > 0 ? options.select : config.select,
    ignore: [...config.ignore, ...options.ignore],
    params: new Map([...config.params, ...own]),
    places: new Map([...config.places].filter(([key]) => !given.has(key))),
  };
}

/** Gives a command's options that the user did not set the configuration's values, where it has them and takes the value. */
export async function applyDefaults(command: Command): Promise<void> {
  const named: unknown = command.getOptionValue('config');
  const { defaults } = await readConfig(typeof named === 'string' ? named : undefined);
  for (const [name, value] of defaults) {
    const option = command.options.find((o) => o.attributeName() === name);
    const source = command.getOptionValueSource(name);
    if (option === undefined || (source !== undefined && source !== 'default')) continue;
    if (option.argChoices === undefined || option.argChoices.includes(value)) {
      command.setOptionValueWithSource(name, value, 'config');
    }
  }
}
