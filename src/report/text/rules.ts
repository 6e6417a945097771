import { readRulePage } from '../../replay/rules.js';
import type { RuleListing } from '../model-rules.js';
import type { RenderOptions } from '../render.js';
import { drawTable, wrap } from './layout.js';

/** One line a rule, or all there is to say about one. */
export function* renderRules({ rules, detailed }: RuleListing, options: RenderOptions): Generator<string> {
  if (!detailed) {
    const nameWidth = Math.max(...rules.map((r) => r.name.length));
    for (const rule of rules) {
      const first = `${rule.severity.padEnd(8)} ${rule.name.padEnd(nameWidth)}  `;
      yield `${wrap(rule.summary, options.width, ' '.repeat(first.length), first)}\n`;
    }
    yield '\n`gmemtrace rules NAME` explains one\n';
    return;
  }
  for (const rule of rules) {
    yield `${options.paint('strong', rule.name)} (${rule.severity})\n${wrap(rule.summary, options.width, '  ', '  ')}\n`;
    yield `\nneeds\n${wrap(rule.needs.length === 0 ? 'nothing beyond the conversions' : rule.needs.join(', '), options.width, '  ', '  ')}\n`;
    if (rule.params.length > 0) {
      const rows = rule.params.map((p) => [p.name, String(p.value), p.doc]);
      yield `\nparameters (--param ${rule.name}.NAME=VALUE)\n`;
      yield `${drawTable(rows, { aligns: ['left', 'right', 'left'], indent: 2 })}\n`;
    }
    const page = readRulePage(rule);
    if (page !== null) yield `\n${page.replace(/^# .*\n+/, '').trimEnd()}\n`;
    if (options.verbose) yield `\n${rule.sql.trimEnd()}\n`;
    else yield `\n--verbose shows its SQL\n`;
  }
}
