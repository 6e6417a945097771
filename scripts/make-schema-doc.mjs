// Writes docs/schema.md from src/store/schema.ts and the macros; with --check it only says whether the page is current.
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import ts from 'typescript';

const root = new URL('..', import.meta.url);
const page = new URL('docs/schema.md', root);
const macroFolder = new URL('src/store/macros/', root);

/** schema.ts imports nothing, so its JavaScript can be loaded as it is, without a build. */
async function loadSchema() {
  const source = readFileSync(new URL('src/store/schema.ts', root), 'utf8');
  const { outputText } = ts.transpileModule(source, { compilerOptions: { module: 'esnext', target: 'es2022' } });
  return import(`data:text/javascript;base64,${Buffer.from(outputText).toString('base64')}`);
}

const cell = (text) => text.replaceAll('|', '\\|');

function renderColumns(columns) {
  const rows = columns.map((c) => `| \`${c.name}\` | ${cell(c.type)} | ${cell(c.doc)} |`);
  return ['| column | type | meaning |', '| --- | --- | --- |', ...rows].join('\n');
}

const renderTable = (table) => `### ${table.name}\n\n${table.doc}\n\n${renderColumns(table.columns)}`;

/** The comment above a macro, without its dashes. */
function renderMacro(file) {
  const lines = readFileSync(new URL(file, macroFolder), 'utf8').split('\n');
  const end = lines.findIndex((line) => !line.startsWith('--'));
  const [head, ...rest] = lines
    .slice(0, end)
    .map((line) => line.slice(3))
    .join(' ')
    .split(': ');
  return `- \`${head}\`: ${rest.join(': ')}`;
}

function render(schema) {
  const macros = readdirSync(macroFolder).filter((file) => file.endsWith('.sql'));
  return `<!-- Made by scripts/make-schema-doc.mjs from src/store/schema.ts: edit that. -->

# The tables of the database

The same in a file made by \`import --db\`, in the Parquet folders of \`import --parquet\` (\`host=…/trace=…/<table>.parquet\`)
and in \`gmemtrace sql\`. Times are BIGINT nanoseconds on the trace's own clock; sizes, gpas and offsets are bytes; NULL means
"not known", never "none". Layout version: ${schema.SCHEMA_VERSION}.

## What the import writes

${[schema.VERSION_TABLE, ...schema.INPUT_TABLES].map(renderTable).join('\n\n')}

### ev_&lt;system&gt;_&lt;name&gt;

The events of one tracepoint or probe (\`event_type.table_name\`): the columns below, then one a field, in format order and
of the field's own type: \`u8\` UTINYINT, \`u16\` USMALLINT, \`u32\` UINTEGER, \`u64\` UBIGINT, \`i8\` TINYINT, \`i16\` SMALLINT,
\`i32\` INTEGER, \`i64\` BIGINT, \`bool\` BOOLEAN, \`string\` VARCHAR. A field whose name is taken gets \`_\` appended (\`cpu_\`).
Where two traces disagree on a type, the column has the narrowest type that holds both. Rows are in no promised order.

${renderColumns(schema.EVENT_COLUMNS)}

The view \`event\` has \`system\`, \`name\` and these columns for all tracepoints.

## What the replay and the rules write

${schema.RESULT_TABLES.map(renderTable).join('\n\n')}

## Macros

${macros.map(renderMacro).join('\n')}
`;
}

const { values } = parseArgs({ options: { check: { type: 'boolean' } } });
const text = render(await loadSchema());
if (!values.check) {
  writeFileSync(page, text);
} else if (readFileSync(page, 'utf8') !== text) {
  process.stderr.write('docs/schema.md is not current: node scripts/make-schema-doc.mjs\n');
  process.exitCode = 1;
}
