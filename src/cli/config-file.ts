/** The text of a configuration (JSON is YAML): every key known, every error with its line. */
import { dirname, isAbsolute, join } from 'node:path';
import type { ErrorPlace } from '../base/errors.js';
import {
  kindOf,
  listOf,
  mapOf,
  openYaml,
  scalarOf,
  textOf,
  wordOf,
  type Node,
  type Reader,
} from '../report/check/yaml.js';
import { OUTPUTS, SEVERITIES } from '../report/index.js';
import { EMPTY_CONFIG, type Config, type DefaultedOption } from './config-model.js';
import { didYouMean } from './suggest.js';

/** As schema/config.schema.json has them. */
const KEYS = ['$schema', 'rules', 'select', 'ignore', 'ruleDirs', 'failOn', 'format', 'probes'] as const;

/** Reads a configuration strictly. Throws TraceError `spec` with the line of what is wrong. */
export function parseConfig(path: string, text: string): Config {
  const reader = openYaml(path, text, didYouMean);
  if (reader.root === null) return EMPTY_CONFIG;
  const entries = mapOf(reader, reader.root, 'the configuration', KEYS);
  const beside = (file: string): string => (isAbsolute(file) ? file : join(dirname(path), file));
  const { params, places } = readParams(reader, entries.get('rules'));
  const defaults = new Map<DefaultedOption, string>();
  const [format, failOn, probes] = [entries.get('format'), entries.get('failOn'), entries.get('probes')];
  const formats = OUTPUTS.map((output) => output.name);
  if (format !== undefined) defaults.set('format', wordOf(reader, format, '"format"', formats));
  if (failOn !== undefined) defaults.set('failOn', wordOf(reader, failOn, '"failOn"', SEVERITIES));
  if (probes !== undefined) defaults.set('probes', beside(textOf(reader, probes, '"probes"')));
  return {
    dirs: texts(reader, entries.get('ruleDirs'), '"ruleDirs"').map(beside),
    select: texts(reader, entries.get('select'), '"select"'),
    ignore: texts(reader, entries.get('ignore'), '"ignore"'),
    ...{ params, places, defaults },
  };
}

function texts(reader: Reader, node: Node | undefined, what: string): readonly string[] {
  if (node === undefined) return [];
  return listOf(reader, node, what).map((item) => textOf(reader, item, `an entry of ${what}`));
}

function readParams(reader: Reader, node: Node | undefined): Pick<Config, 'params' | 'places'> {
  const params = new Map<string, string>();
  const places = new Map<string, ErrorPlace>();
  if (node === undefined) return { params, places };
  for (const [rule, values] of mapOf(reader, node, '"rules"', null)) {
    for (const [name, value] of mapOf(reader, values, `"rules"."${rule}"`, null)) {
      const scalar = scalarOf(reader, value, `"rules"."${rule}"."${name}"`);
      if (scalar === null) reader.fail(value, `"rules"."${rule}"."${name}" is ${kindOf(value)}, expected a number`);
      params.set(`${rule}.${name}`, String(scalar));
      places.set(`${rule}.${name}`, { input: reader.path, ...reader.placeOf(value) });
    }
  }
  return { params, places };
}
