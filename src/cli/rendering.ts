/** Which outputs a report has, and how they fit the place they are written to. */
import { TraceError } from '../base/errors.js';
import type { ClockUnit } from '../base/units.js';
import type { Rule } from '../replay/rules.js';
import { OUTPUTS, type Output, type RenderOptions } from '../report/index.js';
import type { Cli } from './command.js';
import type { OutputOptions } from './options.js';
import type { Target } from './output.js';
import { hasColor, hasUnicode, painter, widthOf } from './style.js';
import { readVersion } from './version.js';

/** What can be rendered: the members of Output that are functions. */
type ReportKind = Exclude<keyof Output, 'name' | 'description'>;

/** Names of the outputs that have this report. */
export function formatsOf(kind: ReportKind): readonly string[] {
  return OUTPUTS.filter((output: Output) => output[kind] !== undefined).map((output) => output.name);
}

/** The renderer of a report in the format that the user chose. */
export function outputNamed<K extends ReportKind>(format: string, kind: K): NonNullable<Output[K]> {
  const output: Output | undefined = OUTPUTS.find((candidate) => candidate.name === format);
  const render = output?.[kind];
  if (render === undefined) throw new TraceError('usage', `--format ${format}: not a format of this command`);
  return render;
}

/** `--limit`, or by default `shown` rows for people and all for programs; 0 = all. */
export function limitOf(options: OutputOptions, shown: number): number {
  return options.limit ?? (options.format === 'text' || options.format === 'markdown' ? shown : 0);
}

/** What an output has to know of the data. */
export interface Rendered {
  /** Rules that judged. */
  readonly rules?: readonly Rule[];
  /** What stamps count. */
  readonly unit?: ClockUnit;
}

/** Width, colour and glyphs for a target. A file gets no colour. */
export function renderOptions(
  cli: Cli,
  target: Target,
  options: OutputOptions & { readonly evidence?: number },
  { rules = [], unit = 'ns' }: Rendered = {},
): RenderOptions {
  const { stdout, env } = cli.io;
  return {
    width: target.stream === null ? 100 : widthOf(stdout, env),
    unicode: hasUnicode(env),
    paint: painter(target.stream !== null && hasColor(stdout, env, options.color)),
    evidence: options.evidence ?? null,
    verbose: options.verbose ?? false,
    limit: options.limit ?? null,
    tool: { version: readVersion(), rules },
    unit,
  };
}
