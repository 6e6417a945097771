/** The parts of a SARIF 2.1.0 log that gmemtrace writes (OASIS, "Static Analysis Results Interchange Format", 3.13 ff.). */
import { createHash } from 'node:crypto';
import { isAbsolute } from 'node:path';
import { pathToFileURL } from 'node:url';
import { readRulePage, type Rule } from '../../replay/rules.js';
import type { Severity } from '../model-findings.js';
import type { Tool } from '../render.js';

export type Level = 'none' | 'note' | 'warning' | 'error';

export const LEVELS: Readonly<Record<Severity, Level>> = { error: 'error', warning: 'warning', info: 'note' };

export interface Region {
  readonly startLine?: number;
  readonly startColumn?: number;
  /** In the decompressed stream where the file is compressed. */
  readonly byteOffset?: number;
}

export interface Location {
  readonly physicalLocation: {
    readonly artifactLocation: { readonly uri: string };
    readonly region?: Region;
  };
  readonly logicalLocations?: readonly { readonly fullyQualifiedName: string; readonly kind: string }[];
  readonly message?: { readonly text: string };
}

export interface Result {
  readonly ruleId: string;
  /** `open`: there was not enough to decide by; its level is always `none` (3.27.9). */
  readonly kind: 'fail' | 'open';
  readonly level: Level;
  readonly message: { readonly text: string };
  readonly locations: readonly Location[];
  readonly relatedLocations?: readonly Location[];
  readonly partialFingerprints: Readonly<Record<string, string>>;
  readonly occurrenceCount?: number;
  readonly properties?: Readonly<Record<string, unknown>>;
}

/** Something to be known about the run that is no result: what could not be judged, what was lost. */
export interface Notification {
  readonly level: Level;
  readonly text: string;
  /** The rule that it is about. */
  readonly rule?: string;
}

export interface Descriptor {
  readonly id: string;
  readonly shortDescription: { readonly text: string };
  readonly help?: { readonly text: string; readonly markdown: string };
  readonly defaultConfiguration: { readonly level: Level };
  readonly properties?: Readonly<Record<string, unknown>>;
}

/** How a rule is described: its summary, its page, and the defaults of its parameters. */
export function describeRule(rule: Rule): Descriptor {
  const page = readRulePage(rule);
  return {
    id: rule.name,
    shortDescription: { text: rule.summary },
    ...(page === null ? {} : { help: { text: page, markdown: page } }),
    defaultConfiguration: { level: LEVELS[rule.severity] },
    properties: { parameters: Object.fromEntries(rule.params.map((param) => [param.name, param.value])) },
  };
}

/** A path as a URI: a relative one stays relative, so that it is found from the root of a repository. */
export function uriOf(path: string): string {
  if (isAbsolute(path)) return pathToFileURL(path).href;
  return path.split(/[\\/]/).map(encodeURIComponent).join('/');
}

/** A place in a trace: `cpu 1 byte 69632`, `byte 69632` or `line 12`; any other is no region. */
export function regionOf(position: string): Region | null {
  const [, unit, number] = /(byte|line) (\d+)$/.exec(position) ?? [];
  if (unit === undefined) return null;
  return unit === 'line' ? { startLine: Number(number) } : { byteOffset: Number(number) };
}

/** Where an event stands in its trace, and the event. */
export function traceLocation(trace: string, position: string, text: string): Location {
  const region = regionOf(position);
  return {
    physicalLocation: { artifactLocation: { uri: uriOf(trace) }, ...(region === null ? {} : { region }) },
    message: { text: `${position}: ${text.trim()}` },
  };
}

/** Fingerprints that are the same in every run on the same trace: equal parts are counted, no time is in them. */
export function makeFingerprints(): (...parts: readonly (string | number | null)[]) => Result['partialFingerprints'] {
  const seen = new Map<string, number>();
  return (...parts) => {
    const key = JSON.stringify(parts);
    const nth = seen.get(key) ?? 0;
    seen.set(key, nth + 1);
    const hash = createHash('sha256').update(`${key} ${nth}`).digest('hex');
    return { 'gmemtraceFinding/v1': hash.slice(0, 32) };
  };
}

export interface Run {
  readonly tool: Tool;
  readonly descriptors: readonly Descriptor[];
  readonly results: readonly Result[];
  readonly notifications: readonly Notification[];
  /** Whether everything could be read. */
  readonly successful: boolean;
}

/** Writes a log of one run. A result of a rule that nobody described (of a database judged elsewhere) has no index. */
export function renderLog({ tool, descriptors, results, notifications, successful }: Run): string {
  const indexes = new Map(descriptors.map(({ id }, index) => [id, index]));
  const run = {
    tool: {
      driver: { name: 'gmemtrace', version: tool.version, semanticVersion: tool.version, rules: descriptors },
    },
    invocations: [
      {
        executionSuccessful: successful,
        toolExecutionNotifications: notifications.map(({ level, text, rule }) => ({
          level,
          message: { text },
          ...(rule === undefined ? {} : { associatedRule: { id: rule } }),
        })),
      },
    ],
    columnKind: 'utf16CodeUnits',
    results: results.map((result) => {
      const ruleIndex = indexes.get(result.ruleId);
      return ruleIndex === undefined ? result : { ...result, ruleIndex };
    }),
  };
  const log = { $schema: 'https://json.schemastore.org/sarif-2.1.0.json', version: '2.1.0', runs: [run] };
  return `${JSON.stringify(log, null, 2)}\n`;
}
