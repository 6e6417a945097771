import { makeBatch, setNull, StringTable, type EventBatch } from '../../src/parse/batch.js';
import type { ColumnType, EventReader, EventSchema, ReadOptions, ReadSummary } from '../../src/parse/model.js';

/** A schema of a tracepoint from `field: type` pairs. */
export function schemaOf(system: string, name: string, fields: Readonly<Record<string, ColumnType>>): EventSchema {
  return {
    system,
    name,
    id: 7,
    fields: Object.entries(fields).map(([field, type]) => ({ name: field, type, cType: `c ${type}`, radix: 16 })),
    formatSource: 'file',
    printFmt: '"x=%d", REC->x',
    probe: null,
  };
}

export type FieldValue = number | bigint | string | boolean | null;

export interface FakeEvents {
  readonly schema: EventSchema;
  /** Values of the fields, a row each. */
  readonly rows: readonly (readonly FieldValue[])[];
}

const strings = new WeakMap<readonly FakeEvents[], StringTable>();

function fillBatch(events: FakeEvents, table: StringTable, firstNs: number): EventBatch {
  const batch = makeBatch(events.schema, table, events.rows.length);
  events.rows.forEach((row, i) => {
    batch.tsNs[i] = BigInt(firstNs + i);
    batch.cpu[i] = i % 4;
    batch.tid[i] = 100 + i;
    batch.seq[i] = BigInt(i * 64);
    row.forEach((value, k) => {
      const column = batch.columns[k]!;
      if (value === null) setNull(batch, column, i);
      else if (typeof value === 'string') column.data[i] = table.intern(value);
      else if (typeof value === 'bigint') (column.data as BigUint64Array)[i] = value;
      else (column.data as Uint8Array)[i] = Number(value);
    });
  });
  batch.length = events.rows.length;
  return batch;
}

/** A reader that gives prepared events, one batch an entry, and the given facts. `onBatch` runs before each batch. */
export function fakeReader(
  given: readonly FakeEvents[],
  facts: Partial<ReadSummary> = {},
  onBatch: (k: number) => void = () => undefined,
): EventReader & { options: ReadOptions | undefined } {
  return {
    options: undefined,
    async read(sink, options) {
      this.options = options;
      const table = strings.get(given) ?? new StringTable();
      strings.set(given, table);
      let events = 0;
      for (const [k, entry] of given.entries()) {
        onBatch(k);
        await sink(fillBatch(entry, table, 1000 * (k + 1)));
        events += entry.rows.length;
      }
      return {
        meta: {
          path: 'x.dat',
          format: 'trace.dat',
          version: '7 zstd',
          kernel: '7.3.4',
          arch: 'x86_64',
          clock: 'mono',
          clockUnit: 'ns',
          resolutionNs: 1,
          recorder: "trace-cmd '3.3.1'",
          host: null,
          cpus: 4,
          enabledEvents: ['kvm:kvm_exit', 'kvm:kvm_entry'],
          notes: [],
        },
        lost: [],
        skipped: [],
        tasks: [],
        schemas: [...new Set(given.map((entry) => entry.schema))],
        events,
        firstNs: 1000n,
        lastNs: 9000n,
        ...facts,
      };
    },
  };
}
