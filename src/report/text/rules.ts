import { readRulePage } from '../../replay/rules.js';
import type { RuleListing } from '../model-rules.js';
import type { RenderOptions } from '../render.js';
import { drawTable, wrap } from './layout.js';
import { renderPage } from './page.js';

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
      const widest = (of: (p: (typeof rule.params)[number]) => string): number =>
        Math.max(...rule.params.map((p) => of(p).length));
      const room = Math.max(20, options.width - widest((p) => p.name) - widest((p) => String(p.value)) - 6);
      const rows = rule.params.map((p) => [p.name, String(p.value), wrap(p.doc, room, '')]);
      yield `\nparameters (--param ${rule.name}.NAME=VALUE)\n`;
      yield `${drawTable(rows, { aligns: ['left', 'right', 'left'], indent: 2 })}\n`;
    }
    const page = readRulePage(rule);
    if (page !== null) yield `\n${renderPage(page.replace(/^# .*\n+/, ''), options)}\n`;
    if (options.verbose) yield `\n${rule.sql.trimEnd()}\n`;
    else yield `\n--verbose shows its SQL\n`;
  }
}
