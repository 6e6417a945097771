// Writes docs/rules/ from src/replay/rules/: a page a rule (its .md, then what its header says) and the index. With --check it
// only says whether the pages are current.
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import ts from 'typescript';

const root = new URL('..', import.meta.url);
const source = new URL('src/replay/rules/', root);
const target = new URL('docs/rules/', root);

/** figures.ts imports nothing, so its JavaScript can be loaded as it is, without a build. */
async function loadFigures() {
  const text = readFileSync(new URL('src/replay/figures.ts', root), 'utf8');
  const { outputText } = ts.transpileModule(text, { compilerOptions: { module: 'esnext', target: 'es2022' } });
  const { FIGURES } = await import(`data:text/javascript;base64,${Buffer.from(outputText).toString('base64')}`);
  return new Map(FIGURES.map((figure) => [figure.what, figure.record]));
}

function readHeader(sql) {
  const value = (key) => new RegExp(`^-- ${key}:[ \\t]*(.*)$`, 'm').exec(sql)?.[1]?.trim() ?? '';
  const list = (key) =>
    value(key)
      .split(',')
      .map((item) => item.trim())
      .filter(Boolean);
  const params = [...sql.matchAll(/^-- param (\w+) = (\S+) : (.*)$/gm)].map(([, name, preset, doc]) => ({
    name,
    preset,
    doc,
  }));
  const sources = [...new Set([...sql.matchAll(/\{(event|probe|retprobe) ([\w.]+):/g)].map((m) => `${m[1]} ${m[2]}`))];
  return {
    name: value('name'),
    severity: value('severity'),
    summary: value('summary'),
    needs: list('needs'),
    platforms: list('platforms'),
    params,
    sources,
  };
}

function renderNeeds({ needs, platforms, sources }, figures) {
  const lines = needs.map((need) =>
    need
      .split(' or ')
      .map((one, k) => `${k === 0 ? '-' : '  or'} \`${one}\`${figures.has(one) ? `: ${figures.get(one)}` : ''}`)
      .join('\n'),
  );
  const direct = sources.map((source) => `- the ${source.replace(/ (.*)/, ' `$1`')}`);
  const all = [...lines, ...direct];
  const about = platforms.length > 0 ? [`Only VMs of the platform ${platforms.join(', ')} are judged.`] : [];
  const lack =
    all.length > 0
      ? [`Without these it is listed under *could not be judged*:\n\n${all.join('\n')}`]
      : ['Nothing beyond what every recording has.'];
  return [...about, ...lack].join('\n\n');
}

function renderPage(rule, text, figures) {
  const rows = rule.params.map((p) => `| \`${p.name}\` | ${p.preset} | ${p.doc} |`);
  const first = rule.params[0];
  return `<!-- Made by scripts/make-rule-docs.mjs from src/replay/rules/${rule.name}.{md,sql}: edit those. -->

${text.trim()}

## Thresholds

| parameter | default | meaning |
| --- | --- | --- |
${rows.join('\n')}

Set them with \`--param ${rule.name}.${first.name}=${first.preset}\`, or in \`gmemtrace.config.json\`:

\`\`\`json
{ "rules": { "${rule.name}": { "${first.name}": ${first.preset} } } }
\`\`\`

Each finding tells the values that decided.

## What it needs

${renderNeeds(rule, figures)}
`;
}

function renderIndex(rules) {
  const rows = rules.map((r) => `| [${r.name}](${r.name}.md) | ${r.severity} | ${r.summary} |`);
  return `<!-- Made by scripts/make-rule-docs.mjs from src/replay/rules/: edit those. -->

# Rules

A rule is a SQL file over the tables of [the database](../schema.md). Its verdict is *fail* (a finding), *inconclusive* (a
finding that lost events may have made), or nothing to say. A rule whose sources were not recorded is *unavailable*, with what
to record. \`gmemtrace rules\` lists them, \`gmemtrace rules NAME\` explains one.

| rule | severity | what it means |
| --- | --- | --- |
${rows.join('\n')}

## A rule of your own

Put \`my-rule.sql\` into a folder and name the folder with \`--rules DIR\` (or \`"ruleDirs"\` in \`gmemtrace.config.json\`). A rule
of a built-in one's name replaces it (two of your own with one name are refused); \`gmemtrace rules NAME --verbose\` shows the SQL of any. A page \`my-rule.md\` beside it is shown by
\`gmemtrace rules my-rule\`.

\`\`\`sql
-- name: large-conversions
-- severity: info
-- needs: conversions
-- rows: conversion
-- summary: A conversion of more than 1 GiB at once.
-- param bytes = 1073741824 : size from which it counts
SELECT 'info' AS severity, 'fail' AS verdict, vm_id, gmem_id, vcpu,
  concat(direction, ' of ', fmt_range(gpa, size)) AS title,
  request_ns AS since_ns, resume_ns AS until_ns, 1 AS count, certainty, NULL AS hint,
  [evidence_of(evidence_trace, evidence_cpu, evidence_seq, evidence_ns)] AS evidence
FROM conversion WHERE size >= $bytes AND certainty IN ('observed', 'inferred')
\`\`\`

- \`needs\`: figures that must be there, else the rule is unavailable (\`gmemtrace analyze\` lists those that are missing). \`a or b\`: one of
  them is enough; \`event SYSTEM.NAME\` is a tracepoint.
- \`rows\`: tables without whose rows it need not run. \`platforms\`: VMs that it is about (\`snp, tdx\`). Both may be left out.
- \`param NAME = NUMBER : meaning\`: \`$NAME\` in the SQL.
- One statement, a SELECT of these columns; it can read the database and nothing else of the machine. A column \`details\` (VARCHAR[])
  may be added: further lines of the finding. Rows of the verdict \`pass\` are what was looked at and let go, with the reason as
  \`hint\`: they go to the table \`dismissed\`, which \`analyze --verbose\` shows. What is
  wrong with a rule is said with file and line, and ends with status 2.
- \`{event kvm.kvm_rmp_fault: gpa, rmp_level}\` in the SQL stands for the rows of a tracepoint (with \`trace_id\`, \`ts_ns\`, \`cpu\`, \`tid\`,
  \`seq\`), \`{probe kvm_gmem_get_pfn: gfn}\` for those of a probe on that function, \`{retprobe …}\` of its return. Without them the rule is
  unavailable; \`{event? …}\` may be missing and is empty then.
- Macros: \`lost_within(from_ns, to_ns)\` is true where events may be missing; \`kind_code('dma_map')\` is the code of a kind in
  \`memory_event\`; \`evidence_of(trace_id, cpu, seq, ts_ns)\`; \`fmt_ns\`, \`fmt_bytes\`, \`fmt_range\`, \`fmt_hex\`, \`fmt_count\`.
- Rows with the certainty \`assumed\` or \`unknown\` are guesses: a rule should not rest on them.

Try it: \`gmemtrace rules large-conversions --rules DIR\` explains it, \`gmemtrace analyze trace.dat --rules DIR --select
large-conversions\` judges by it alone, \`--param large-conversions.bytes=65536\` with another threshold.

## The configuration

\`gmemtrace.config.json\` (or \`.yaml\`, \`.yml\`) in the working directory, or the file that \`--config FILE\` names
([schema](../../schema/config.schema.json)). It is not looked for in folders above. Options of the command line win; rule folders
and ignored rules are added to those of the file. Paths in it are relative to it. A wrong key or value is said with its line, and ends
with status 2.

\`\`\`yaml
rules: # parameters
  conversion-stall: { min_ns: 20000000 }
ruleDirs: [rules]
ignore: [small-conversions]
failOn: error # --fail-on of analyze and diff
format: markdown # --format, of the commands that have it
probes: probes.txt # --probes
\`\`\`
`;
}

const { values } = parseArgs({ options: { check: { type: 'boolean' } } });
const figures = await loadFigures();
const files = readdirSync(source).filter((file) => file.endsWith('.sql'));
const rules = files.map((file) => readHeader(readFileSync(new URL(file, source), 'utf8')));
const pages = new Map(
  rules.map((rule) => [
    `${rule.name}.md`,
    renderPage(rule, readFileSync(new URL(`${rule.name}.md`, source), 'utf8'), figures),
  ]),
);
pages.set('README.md', renderIndex(rules));
mkdirSync(target, { recursive: true });
for (const [file, text] of pages) {
  const url = new URL(file, target);
  if (!values.check) {
    writeFileSync(url, text);
  } else if (!existsSync(url) || readFileSync(url, 'utf8') !== text) {
    process.stderr.write(`docs/rules/${file} is not current: node scripts/make-rule-docs.mjs\n`);
    process.exitCode = 1;
  }
}
