/** The files and messages in which `check` reports beside its result on standard output. */
import { relative, resolve } from 'node:path';
import type { TraceError } from '../../base/errors.js';
import { renderAnnotation, renderAnnotations } from '../../report/check/annotations.js';
import { renderCheckMarkdown } from '../../report/check/markdown.js';
import type { CheckReport } from '../../report/check/result.js';
import { renderJunit } from '../../report/junit/index.js';
import { renderCheckSarif } from '../../report/sarif/check.js';
import type { Tool } from '../../report/render.js';
import type { CliIo } from '../command.js';
import { openAppending, openTarget, writeTo, type Target } from '../output.js';

export interface ReportOptions {
  readonly junit?: string;
  readonly sarif?: string;
  readonly summary?: string;
  readonly annotations: string;
}

/** Values of --annotations; `auto` asks the environment. */
export const ANNOTATIONS = ['auto', 'github', 'none'] as const;

/** A report that is written when the check is over. */
interface Report {
  readonly target: Target;
  readonly render: (report: CheckReport) => Iterable<string>;
}

export interface Reports {
  /** Names of the files. */
  readonly names: readonly string[];
  write(report: CheckReport): Promise<void>;
  /** Leaves no file behind that is not whole. */
  abandon(): Promise<void>;
}

/** Opens all reports before any work is done, so that a wrong path fails at once. Throws TraceError `usage`. */
export async function openReports(io: CliIo, options: ReportOptions, tool: Tool): Promise<Reports> {
  const { junit, sarif, summary } = options;
  const reports: Report[] = [];
  const abandon = async (): Promise<void> => {
    for (const { target } of reports) await target.abandon();
  };
  try {
    if (junit !== undefined) {
      reports.push({ target: await openTarget(junit, io), render: (report) => [renderJunit(report)] });
    }
    if (sarif !== undefined) {
      reports.push({ target: await openTarget(sarif, io), render: (report) => [renderCheckSarif(report, tool)] });
    }
    if (summary !== undefined) {
      // the summary of a job is one file for all its steps
      reports.push({ target: await openAppending(summary, io), render: renderCheckMarkdown });
    }
  } catch (error) {
    await abandon();
    throw error;
  }
  return {
    names: [junit, sarif, summary].filter((name) => name !== undefined && name !== '-') as string[],
    write: async (report) => {
      for (const { target, render } of reports) {
        for (const chunk of render(report)) await target.write(chunk);
        await target.finish();
      }
    },
    abandon,
  };
}

/** Whether annotations are wanted here. GitHub's runner sets GITHUB_ACTIONS to `true`. */
export function wantsAnnotations({ env }: CliIo, { annotations }: Pick<ReportOptions, 'annotations'>): boolean {
  return annotations === 'github' || (annotations === 'auto' && env['GITHUB_ACTIONS'] === 'true');
}

/** Path of a file from the root of the repository that the runner checked out. */
function repositoryPath(path: string, env: CliIo['env']): string {
  const root = env['GITHUB_WORKSPACE'];
  const inside = root === undefined || root === '' ? '..' : relative(root, resolve(path));
  return (inside.startsWith('..') ? path : inside).replaceAll('\\', '/');
}

/** Writes annotations to standard error, of which the runner reads commands, too: results stay what they are. */
export async function annotate(io: CliIo, report: CheckReport): Promise<void> {
  for (const line of renderAnnotations(report, repositoryPath(report.spec, io.env))) await writeTo(io.stderr, line);
}

/** Annotates a spec that is wrong. */
export async function annotateError(io: CliIo, path: string, error: TraceError): Promise<void> {
  const { line, column, hint } = error.place;
  const annotation = renderAnnotation({
    file: repositoryPath(path, io.env),
    place: { ...(line === undefined ? {} : { line }), ...(column === undefined ? {} : { column }) },
    title: 'gmemtrace check: wrong specification',
    lines: hint === undefined ? [error.message] : [error.message, `hint: ${hint}`],
  });
  await writeTo(io.stderr, annotation);
}
