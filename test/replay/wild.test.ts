/**
 * Real traces that other people pasted (captures/wild/text): each piece is read and replayed, or refused with the
 * reason. The numbers are those of its table; none of what can be read holds the exits of a conversion, so nothing is
 * said of any.
 */
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { openTrace } from '../../src/parse/index.js';
import { replay } from '../../src/replay/index.js';
import { loadRules, runRules } from '../../src/replay/rules.js';
import { openStore, type Store } from '../../src/store/db.js';
import { ingestAll } from '../../src/store/ingest.js';

const WILD = new URL('../../../shared/captures/wild/', import.meta.url);

interface Piece {
  readonly file: string;
  /** Records with a stamp that name their event. */
  readonly records: number;
  /** Count of the commonest events. */
  readonly top: Readonly<Record<string, number>>;
}

/** What the table of wild/README.md says of each excerpt. */
function readTable(): Piece[] {
  if (!existsSync(WILD)) return [];
  const table = readFileSync(new URL('README.md', WILD), 'utf8');
  return [...table.matchAll(/^\| (\d{3}-\S+\.txt) \|.*?\| \d+\/([^|]*)\/\d+\/\d+ \|.*$/gm)].map(
    ([row, file, records]) => ({
      file: file!,
      records: parseInt(records!, 10),
      top: Object.fromEntries(
        [...(row.split('top: ')[1] ?? '').matchAll(/(\w+) (\d+)/g)].map(([, name, count]) => [name!, Number(count)]),
      ),
    }),
  );
}

/** Layouts without task or CPU, and a single record that is cut in two: refused, not half-read. */
const REFUSED = ['026', '046', '054'];
/** A tracer's own records, which the table does not count as named; a last line that breaks off inside its event. */
const COUNTED_OTHERWISE: Readonly<Record<string, number>> = { '014': 4, '056': 17 };
/** What the table gives as an event's name is the subsystem of perf script's `kvm:kvm_entry`, or stands on the next line. */
const NO_TOP = ['044', '046', '047', '049', '050', '056'];

const pieces = readTable();
const numberOf = ({ file }: Piece): string => file.slice(0, 3);
const isRead = (piece: Piece): boolean =>
  COUNTED_OTHERWISE[numberOf(piece)] !== undefined || (piece.records > 0 && !REFUSED.includes(numberOf(piece)));

async function analysed<T>(file: string, look: (store: Store) => Promise<T>): Promise<T> {
  const { reader, source } = await openTrace(fileURLToPath(new URL(`text/${file}`, WILD)));
  const store = await openStore(null);
  try {
    await ingestAll(store, [{ path: file, reader, sha256: null }]);
    await replay(store);
    await runRules(store, loadRules());
    return await look(store);
  } finally {
    store.close();
    source.close();
  }
}

describe.skipIf(pieces.length === 0)('traces in mails, issues and notes', () => {
  it('all that the folder holds stand in the table', () => {
    expect(pieces).toHaveLength(69);
  });

  it.each(pieces.filter(isRead))('$file: every record, and no conversion of nothing', async (piece) => {
    const told = await analysed(piece.file, async (store) => ({
      events: await store.rows('SELECT name, sum(rows)::INTEGER AS n FROM event_type GROUP BY name'),
      claims: await store.rows(`SELECT count(*)::INTEGER AS n FROM (SELECT 1 FROM conversion UNION ALL
        SELECT 1 FROM memory_fault UNION ALL SELECT 1 FROM reboot UNION ALL SELECT 1 FROM gmem UNION ALL
        SELECT 1 FROM finding)`),
    }));
    const counts = Object.fromEntries(told.events.map((row) => [row['name'] as string, row['n'] as number]));
    const total = Object.values(counts).reduce((sum, n) => sum + n, 0);
    expect(total).toBe(COUNTED_OTHERWISE[numberOf(piece)] ?? piece.records);
    if (!NO_TOP.includes(numberOf(piece)) && piece.top['ip_rcv'] === undefined) expect(counts).toMatchObject(piece.top);
    expect(told.claims).toEqual([{ n: 0 }]);
  });

  it.each(pieces.filter((piece) => !isRead(piece)))('$file: refused, and why', async ({ file }) => {
    await expect(openTrace(fileURLToPath(new URL(`text/${file}`, WILD)))).rejects.toMatchObject({
      code: 'unknown-format',
      message: expect.stringContaining('not a trace') as unknown,
    });
  });

  it('wrapped and quoted: the record is the same as in the mail that was quoted', async () => {
    const spteChanges = (file: string): Promise<unknown> =>
      analysed(file, (store) =>
        store
          .rows('SELECT tid, cpu, ts_ns, name FROM event ORDER BY seq')
          .then((rows) => rows.map((row) => ({ ...row }))),
      );
    const once = await spteChanges('002-upm-shared-conversion-thp-quoted1.txt');
    expect(await spteChanges('001-upm-shared-conversion-thp-wrapped.txt')).toEqual(once);
    expect(await spteChanges('003-upm-shared-conversion-thp-quoted2.txt')).toEqual(once);
  });
});
