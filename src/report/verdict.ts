import type { Analysis } from './model.js';
import { SEVERITIES } from './model-findings.js';
import { plural } from './names.js';
import type { Tone } from './render.js';

export interface VerdictWords {
  readonly tone: Tone;
  readonly word: string;
  readonly detail: string;
}

/** The one line that answers "is all well?" and does not claim more than the trace can bear. */
export function verdictOf(analysis: Analysis): VerdictWords {
  const failed = analysis.findings.filter((f) => f.verdict === 'fail');
  const open = analysis.findings.length - failed.length;
  const counts = SEVERITIES.map((severity) => ({
    severity,
    count: failed.filter((f) => f.severity === severity).length,
  })).filter(({ count }) => count > 0);
  const said = counts.map(({ severity, count }) => (severity === 'info' ? `${count} info` : plural(count, severity)));
  if (open > 0) said.push(`${open} inconclusive`);
  if (counts.some(({ severity }) => severity === 'error'))
    return { tone: 'error', word: 'FAIL', detail: said.join(', ') };
  if (counts.some(({ severity }) => severity === 'warning')) {
    return { tone: 'warning', word: 'WARN', detail: said.join(', ') };
  }
  if (open > 0) return { tone: 'warning', word: 'INCONCLUSIVE', detail: said.join(', ') };
  if ((analysis.conversions.total ?? 0) === 0) {
    return { tone: 'info', word: 'NOTHING SEEN', detail: 'no conversion in this trace, nothing to judge' };
  }
  return { tone: 'good', word: 'PASS', detail: ['no finding', ...said].slice(said.length > 0 ? 1 : 0).join(', ') };
}
