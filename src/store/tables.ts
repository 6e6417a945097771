/** Makes the tables of schema.ts and the SQL macros in a database. */
import { readdirSync, readFileSync } from 'node:fs';
import type { Store } from './db.js';
import { createTableSql, SCHEMA_VERSION, TABLES, VERSION_TABLE } from './schema.js';

const MACROS = new URL('./macros/', import.meta.url);

/** The SQL of each macro, one file each, its doc in the comment above. */
export function macroTexts(): { readonly name: string; readonly sql: string }[] {
  return readdirSync(MACROS)
    .filter((file) => file.endsWith('.sql'))
    .sort()
    .map((file) => ({
      name: file.slice(0, -4).replaceAll('-', '_'),
      sql: readFileSync(new URL(file, MACROS), 'utf8'),
    }));
}

/** Makes every table, empty, the version row and the macros. The database must be new. */
export async function createTables(store: Store): Promise<void> {
  const tables = [VERSION_TABLE, ...TABLES].map(createTableSql);
  await store.run(
    [
      ...tables,
      `INSERT INTO ${VERSION_TABLE.name} VALUES (${SCHEMA_VERSION})`,
      ...macroTexts().map((macro) => macro.sql.trimEnd().replace(/;$/, '')),
    ].join(';\n'),
  );
}
