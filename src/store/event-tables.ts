/** The ev_<system>_<name> tables of a load: one writer each, made and widened as schemas turn up. */
import type { EventBatch } from '../parse/batch.js';
import type { EventSchema } from '../parse/model.js';
import { openBulkWriter, type BulkColumn, type BulkWriter } from './bulk.js';
import { sqlName, sqlText, type Store } from './db.js';
import { FIELD_TYPES, fieldColumnNames, widenColumn, widerType, type FieldType } from './event-columns.js';
import { EVENT_COLUMNS, eventTableName } from './schema.js';

/** What all writers together may hold before they are told to flush: bounds memory with hundreds of tracepoints. */
const MAX_PENDING_BYTES = 24 << 20;

interface EventTable {
  readonly name: string;
  readonly system: string;
  readonly event: string;
  /** Field columns in the table's order: name in lower case → type. */
  readonly types: Map<string, FieldType>;
  /** Grows with each change of the columns. */
  version: number;
  writer: BulkWriter | null;
}

/** One schema's way into its table. */
interface Route {
  readonly table: EventTable;
  readonly columns: readonly string[];
  /** For each field column of the table the schema's field, or -1; valid for `version`. */
  fields: Int32Array;
  version: number;
  rows: number;
}

export class EventTables {
  private readonly store: Store;
  private readonly tables = new Map<string, EventTable>();
  private readonly names = new Set<string>();
  private routes = new Map<EventSchema, Route>();
  private traceId = 0;

  constructor(store: Store) {
    this.store = store;
  }

  /** Starts another trace; counts of rows begin anew. */
  startTrace(traceId: number): void {
    this.traceId = traceId;
    this.routes = new Map();
  }

  /** Writes a batch. A promise only where the tables must change first. */
  write(batch: EventBatch): void | Promise<void> {
    const route = this.routes.get(batch.schema);
    if (route?.table.writer) return this.append(route, batch);
    return this.prepare(batch.schema).then((ready) => this.append(ready, batch));
  }

  /** Table and rows of a schema in this trace. */
  written(schema: EventSchema): { readonly table: string; readonly rows: number } | null {
    const route = this.routes.get(schema);
    return route ? { table: route.table.name, rows: route.rows } : null;
  }

  /** Writes what is pending. */
  close(): void {
    for (const table of this.tables.values()) {
      table.writer?.close();
      table.writer = null;
    }
  }

  /** Drops what is pending, before a ROLLBACK. */
  discard(): void {
    for (const table of this.tables.values()) table.writer?.discard();
  }

  /** The view `event`: the common columns of all tracepoints. */
  eventViewSql(): string {
    const common = EVENT_COLUMNS.map((column) => column.name).join(', ');
    const parts = [...this.tables.values()].map(
      (table) =>
        `SELECT ${sqlText(table.system)} AS system, ${sqlText(table.event)} AS name, ${common} FROM ${sqlName(table.name)}`,
    );
    if (parts.length === 0) {
      const empty = EVENT_COLUMNS.map((column) => `CAST(NULL AS ${column.type.split(' ', 1)[0]!}) AS ${column.name}`);
      parts.push(`SELECT '' AS system, '' AS name, ${empty.join(', ')} WHERE false`);
    }
    return `CREATE OR REPLACE VIEW event AS ${parts.join(' UNION ALL ')}`;
  }

  private append(route: Route, batch: EventBatch): void {
    const { table } = route;
    if (route.version !== table.version) this.align(route);
    const { strings, length: rows } = batch;
    const columns: BulkColumn[] = [
      { constant: this.traceId },
      { data: batch.tsNs, valid: null },
      { data: batch.cpu, valid: null },
      { data: batch.tid, valid: null },
      { data: batch.seq, valid: null },
      { data: batch.flags, valid: null },
    ];
    let k = 0;
    for (const type of table.types.values()) {
      const field = route.fields[k++]!;
      if (field < 0) columns.push({ constant: null });
      else columns.push(widenColumn(batch.columns[field]!, strings.values, type, rows));
    }
    table.writer!.append(columns, rows);
    route.rows += rows;
    this.boundPending();
  }

  private boundPending(): void {
    let bytes = 0;
    for (const table of this.tables.values()) bytes += table.writer?.pendingBytes ?? 0;
    if (bytes < MAX_PENDING_BYTES) return;
    for (const table of this.tables.values()) table.writer?.flush();
  }

  private align(route: Route): void {
    const { table } = route;
    route.fields = Int32Array.from([...table.types.keys()], (column) => route.columns.indexOf(column));
    route.version = table.version;
  }

  /** Makes or widens the table of a schema and opens its writer. */
  private async prepare(schema: EventSchema): Promise<Route> {
    const columns = fieldColumnNames(schema);
    const table = await this.findOrCreate(schema, columns);
    await this.widen(table, schema, columns);
    table.writer ??= openBulkWriter(this.store, table.name);
    const known = this.routes.get(schema);
    const route: Route = known ?? {
      table,
      columns: columns.map((name) => name.toLowerCase()),
      fields: new Int32Array(0),
      version: -1,
      rows: 0,
    };
    this.routes.set(schema, route);
    return route;
  }

  private async findOrCreate(schema: EventSchema, columns: readonly string[]): Promise<EventTable> {
    const key = `${schema.system}\u0000${schema.name}`;
    const known = this.tables.get(key);
    if (known) return known;
    const table: EventTable = {
      name: this.freeName(eventTableName(schema.system, schema.name)),
      system: schema.system,
      event: schema.name,
      types: new Map(schema.fields.map((field, k) => [columns[k]!.toLowerCase(), FIELD_TYPES[field.type]])),
      version: 0,
      writer: null,
    };
    const own = schema.fields.map((field, k) => `${sqlName(columns[k]!)} ${FIELD_TYPES[field.type]}`);
    const common = EVENT_COLUMNS.map((column) => `${column.name} ${column.type}`);
    await this.store.run(`CREATE TABLE ${sqlName(table.name)} (${[...common, ...own].join(', ')})`);
    this.tables.set(key, table);
    return table;
  }

  /** Event names that differ in case or in a character that a table name cannot have get a number. */
  private freeName(wanted: string): string {
    let name = wanted;
    for (let n = 2; this.names.has(name.toLowerCase()); n++) name = `${wanted}_${n}`;
    this.names.add(name.toLowerCase());
    return name;
  }

  private async widen(table: EventTable, schema: EventSchema, columns: readonly string[]): Promise<void> {
    const changes: string[] = [];
    schema.fields.forEach((field, k) => {
      const column = columns[k]!;
      const key = column.toLowerCase();
      const own = FIELD_TYPES[field.type];
      const old = table.types.get(key);
      const type = old === undefined ? own : widerType(old, own);
      if (type === old) return;
      table.types.set(key, type);
      const change = old === undefined ? `ADD COLUMN ${sqlName(column)}` : `ALTER ${sqlName(column)} SET DATA TYPE`;
      changes.push(`ALTER TABLE ${sqlName(table.name)} ${change} ${type}`);
    });
    if (changes.length === 0) return;
    // An open appender holds the table's old shape.
    table.writer?.close();
    table.writer = null;
    await this.store.run(changes.join(';\n'));
    table.version++;
  }
}
