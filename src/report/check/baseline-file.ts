/** Reading and writing of baseline files (schema/baseline.schema.json). */
import { TraceError } from '../../base/errors.js';
import { RULE_STATES, type Baseline, type BaselineEntry, type Figures, type RuleState } from './baseline.js';

const SCHEMA = 'gmemtrace.baseline/1';

/** Writes a baseline: entries in order of name, so that a new one is a small difference. */
export function renderBaseline(baseline: Baseline): string {
  const names = [...baseline.keys()].sort();
  const traces = Object.fromEntries(names.map((name) => [name, baseline.get(name)!]));
  return `${JSON.stringify({ schema: SCHEMA, traces }, null, 2)}\n`;
}

/** A part of a file: where it stands in it is told with every mistake. */
interface Part {
  readonly path: string;
  readonly what: string;
  readonly value: unknown;
}

type JsonObject = Readonly<Record<string, unknown>>;

/** Reads a baseline. Throws TraceError('spec') where it is none. */
export function parseBaseline(path: string, text: string): Baseline {
  const file = objectOf({ path, what: 'the baseline', value: parseJson(path, text) });
  if (file['schema'] !== SCHEMA) fail(path, `schema is ${JSON.stringify(file['schema'])}, expected "${SCHEMA}"`);
  const traces = objectOf({ path, what: 'traces', value: file['traces'] });
  return new Map(Object.entries(traces).map(([name, value]) => [name, entryOf({ path, what: name, value })]));
}

function fail(path: string, message: string): never {
  const hint = 'check --update-baseline writes it anew, once this file is gone';
  throw new TraceError('spec', `${path}: ${message}`, { input: path, hint });
}

function parseJson(path: string, text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    return fail(path, `not JSON: ${(error as Error).message}`);
  }
}

function objectOf({ path, what, value }: Part): JsonObject {
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
  return isObject ? (value as JsonObject) : fail(path, `${what} is no object`);
}

function entryOf(part: Part): BaselineEntry {
  const entry = objectOf(part);
  const member = (name: string): Part => ({ ...part, what: `${part.what}: ${name}`, value: entry[name] });
  return {
    counts: figuresOf(member('counts')),
    findings: figuresOf(member('findings')),
    rules: rulesOf(member('rules')),
    latency: figuresOf(member('latency')),
  };
}

function figuresOf(part: Part): Figures {
  const figures = objectOf(part);
  const wrong = Object.entries(figures).find(([, figure]) => figure !== null && typeof figure !== 'number');
  return wrong ? fail(part.path, `${part.what}.${wrong[0]} is neither a number nor null`) : (figures as Figures);
}

function rulesOf(part: Part): BaselineEntry['rules'] {
  const rules = objectOf(part);
  const states: readonly unknown[] = RULE_STATES;
  const wrong = Object.entries(rules).find(([, state]) => !states.includes(state));
  if (wrong) fail(part.path, `${part.what}.${wrong[0]} is none of ${RULE_STATES.join(', ')}`);
  return rules as Readonly<Record<string, RuleState>>;
}
