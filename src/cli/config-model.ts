/** What a configuration says, as plain data. */
import type { ErrorPlace } from '../base/errors.js';

/** What decides which rules run and how: configuration and options put together, options winning. */
export interface RuleSettings {
  /** Folders with rules beside the built-in ones. */
  readonly dirs: readonly string[];
  /** Only these, if any. */
  readonly select: readonly string[];
  readonly ignore: readonly string[];
  /** `rule.parameter` → value. */
  readonly params: ReadonlyMap<string, string>;
  /** Where in the configuration a parameter is set, for messages. */
  readonly places?: ReadonlyMap<string, ErrorPlace>;
}

/** Options that the configuration can set. */
export type DefaultedOption = 'format' | 'failOn' | 'probes';

/** The configuration as it is written; paths are relative to the working directory. */
export interface Config extends Required<RuleSettings> {
  /** Values of options that are not given. */
  readonly defaults: ReadonlyMap<DefaultedOption, string>;
}

/** What holds without a configuration. */
export const EMPTY_CONFIG: Config = {
  dirs: [],
  select: [],
  ignore: [],
  params: new Map(),
  places: new Map(),
  defaults: new Map(),
};
