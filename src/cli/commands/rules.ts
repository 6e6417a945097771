import { Command } from 'commander';
import { TraceError } from '../../base/errors.js';
import type { BuildCommand } from '../command.js';
import { readRuleSettings } from '../config.js';
import { addExamples, addOutputOptions, addRuleOptions, type OutputOptions, type RuleOptions } from '../options.js';
import { emit } from '../output.js';
import { formatsOf, outputNamed, renderOptions } from '../rendering.js';
import { didYouMean } from '../suggest.js';

/** `rules`: lists them, or explains one. */
export const buildRules: BuildCommand = (cli) => {
  const command = new Command('rules')
    .summary('lists the rules, or explains one')
    .description('Lists the rules that analyze and check judge by; with a name, says what it needs and its parameters.')
    .argument('[name]', 'rule to explain');
  addOutputOptions(command, formatsOf('rules'));
  addRuleOptions(command);
  addExamples(command, [
    ['rules', 'all rules'],
    ['rules conversion-stall', 'what it means, needs, and its parameters'],
    ['rules conversion-stall --verbose', 'its SQL, too'],
  ]);
  return command.action(async (name: string | undefined, options: OutputOptions & RuleOptions) => {
    const { knownRules } = await import('../judging.js');
    const all = knownRules(await readRuleSettings(options));
    const rules = name === undefined ? all : all.filter((rule) => rule.name === name);
    if (name !== undefined && rules.length === 0) {
      const hint = didYouMean(
        name,
        all.map((rule) => rule.name),
      );
      throw new TraceError('usage', `no rule is called "${name}"`, { hint });
    }
    const output = outputNamed(options.format, 'rules');
    await emit(options.output, cli.io, (target) =>
      output({ rules, detailed: name !== undefined }, renderOptions(cli, target, options)),
    );
  });
};
