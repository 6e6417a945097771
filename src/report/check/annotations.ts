/**
 * The result of `check` as workflow commands of GitHub Actions, which shows them beside the lines of the spec
 * (docs.github.com, "Workflow commands", and escapeData/escapeProperty of actions/toolkit).
 */
import type { Place } from './spec-types.js';
import type { CheckReport } from './result.js';
import { detailsOf } from './text.js';

function escapeData(text: string): string {
  return text.replaceAll('%', '%25').replaceAll('\r', '%0D').replaceAll('\n', '%0A');
}

function escapeProperty(text: string): string {
  return escapeData(text).replaceAll(':', '%3A').replaceAll(',', '%2C');
}

export interface Annotation {
  /** Path from the root of the repository. */
  readonly file: string;
  readonly place: Partial<Place>;
  readonly title: string;
  readonly lines: readonly string[];
}

/** `::error file=a.yaml,line=4,col=5,title=…::message`. */
export function renderAnnotation({ file, place, title, lines }: Annotation): string {
  const properties = Object.entries({ file, line: place.line, col: place.column, title }).flatMap(([name, value]) =>
    value === undefined ? [] : [`${name}=${escapeProperty(String(value))}`],
  );
  return `::error ${properties.join(',')}::${escapeData(lines.join('\n'))}\n`;
}

/** One error a difference, at its line of the spec. `file` is the spec's path from the root of the repository. */
export function* renderAnnotations(report: CheckReport, file: string): Generator<string> {
  for (const { name, place, status, reason, cases } of report.traces) {
    if (status === 'unreadable') yield renderAnnotation({ file, place, title: `${name}: trace`, lines: [reason] });
    for (const one of cases) {
      if (one.status !== 'fail') continue;
      const lines = [one.message, ...detailsOf(one)];
      yield renderAnnotation({ file, place: one.place, title: `${name}: ${one.name}`, lines });
    }
  }
}
