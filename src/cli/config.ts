/** gmemtrace.config.json: which rules judge and with which parameters. */
import { readFile } from 'node:fs/promises';
import { TraceError } from '../base/errors.js';
import type { RuleOptions } from './options.js';
import { reasonOf } from './output.js';
import { closest } from './suggest.js';

/** What decides which rules run and how: configuration and options put together, options winning. */
export interface RuleSettings {
  /** Folders with rules beside the built-in ones. */
  readonly dirs: readonly string[];
  /** Only these, if any. */
  readonly select: readonly string[];
  readonly ignore: readonly string[];
  /** `rule.parameter` → value. */
  readonly params: ReadonlyMap<string, string>;
}

const KEYS = ['$schema', 'rules', 'select', 'ignore', 'ruleDirs'] as const;
const DEFAULT_PATH = 'gmemtrace.config.json';

type JsonObject = Readonly<Record<string, unknown>>;
const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function fail(path: string, message: string, hint?: string): never {
  throw new TraceError('spec', `${path}: ${message}`, hint === undefined ? { input: path } : { input: path, hint });
}

async function readObject(path: string, required: boolean): Promise<JsonObject> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (!required && (error as NodeJS.ErrnoException).code === 'ENOENT') return {};
    throw new TraceError('usage', `${path}: cannot be read: ${reasonOf(error)}`, { input: path, cause: error });
  }
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : fail(path, 'must be a JSON object');
  } catch (error) {
    if (error instanceof TraceError) throw error;
    throw new TraceError('spec', `${path}: not JSON: ${(error as Error).message}`, { input: path, cause: error });
  }
}

function strings(path: string, config: JsonObject, key: string): readonly string[] {
  const value = config[key] ?? [];
  if (!Array.isArray(value)) return fail(path, `"${key}" must be a list of texts`);
  return value.map((entry: unknown) =>
    typeof entry === 'string' ? entry : fail(path, `"${key}" must be a list of texts`),
  );
}

function configParams(path: string, config: JsonObject): [string, string][] {
  const rules = config['rules'] ?? {};
  if (!isObject(rules)) return fail(path, '"rules" must be an object: rule → parameter → value');
  return Object.entries(rules).flatMap(([rule, params]) => {
    if (!isObject(params)) return fail(path, `"rules"."${rule}" must be an object: parameter → value`);
    return Object.entries(params).map(([name, value]): [string, string] => {
      if (typeof value !== 'number' && typeof value !== 'string' && typeof value !== 'boolean') {
        return fail(path, `"rules"."${rule}"."${name}" must be a number or a text`);
      }
      return [`${rule}.${name}`, String(value)];
    });
  });
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
  const path = options.config ?? DEFAULT_PATH;
  const config = await readObject(path, options.config !== undefined);
  for (const key of Object.keys(config)) {
    if ((KEYS as readonly string[]).includes(key)) continue;
    const match = closest(key, KEYS);
    fail(path, `unknown key "${key}"`, match === null ? `keys are ${KEYS.join(', ')}` : `did you mean "${match}"?`);
  }
  return {
    dirs: [...strings(path, config, 'ruleDirs'), ...options.rules],
    select: options.select.length > 0 ? options.select : strings(path, config, 'select'),
    ignore: [...strings(path, config, 'ignore'), ...options.ignore],
    params: new Map([...configParams(path, config), ...optionParams(options.param)]),
  };
}
