import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { TraceError } from '../../src/base/errors.js';
import { exportParquet, isDuckdbFile, openImported, writeDatabase } from '../../src/store/database-file.js';
import { lockDown, openStore, type Store } from '../../src/store/db.js';
import { ingestAll } from '../../src/store/ingest.js';
import { SCHEMA_VERSION, TABLES } from '../../src/store/schema.js';
import { sha256Of } from '../../src/store/sha256.js';
import { streamColumns } from '../../src/store/stream.js';
import { fakeReader, schemaOf } from './fake-reader.js';
import { closeLater, memoryStore, temporaryFolder } from './open.js';

async function fill(store: Store): Promise<void> {
  const schema = schemaOf('kvm', 'kvm_exit', { rip: 'u64', comm: 'string' });
  const rows = Array.from({ length: 5000 }, (_, i) => [BigInt(i), `thread number ${i % 7}`]);
  await ingestAll(store, [{ path: 'x.dat', reader: fakeReader([{ schema, rows }]), sha256: null }]);
  await store.run(`INSERT INTO unavailable VALUES ('reboots', 'kvm_vcpu_reset', 'that')`);
}

describe('writeDatabase', () => {
  it('makes a file that openImported reads, and leaves nothing beside it', async () => {
    const folder = temporaryFolder();
    const path = join(folder, "it's.duckdb");
    await writeDatabase(path, {}, fill);
    expect(readdirSync(folder)).toEqual(["it's.duckdb"]);
    expect(await isDuckdbFile(path)).toBe(true);
    const store = closeLater(await openImported(path));
    expect(await store.rows('SELECT count(*)::INTEGER AS n, max(rip) AS rip FROM ev_kvm_kvm_exit')).toEqual([
      { n: 5000, rip: 4999n },
    ]);
    expect(await store.rows('SELECT count(*)::INTEGER AS n FROM event')).toEqual([{ n: 5000 }]);
  });

  it.each(['fails', 'is aborted'])('keeps the old file when the import %s', async (how) => {
    const folder = temporaryFolder();
    const path = join(folder, 'x.duckdb');
    await writeDatabase(path, {}, fill);
    const before = readFileSync(path);
    const abort = new AbortController();
    const again = writeDatabase(path, { signal: abort.signal }, async (store) => {
      await fill(store);
      if (how === 'fails') throw new TraceError('corrupt', 'broken');
      abort.abort();
    });
    await expect(again).rejects.toMatchObject({ code: how === 'fails' ? 'corrupt' : 'cancelled' });
    expect(readdirSync(folder)).toEqual(['x.duckdb']);
    expect(readFileSync(path).equals(before)).toBe(true);
  });

  it('replaces a database, with the log that a killed process left beside it', async () => {
    const folder = temporaryFolder();
    const path = join(folder, 'x.duckdb');
    await writeDatabase(path, {}, fill);
    writeFileSync(`${path}.wal`, 'left over');
    await writeDatabase(path, {}, fill);
    expect(readdirSync(folder)).toEqual(['x.duckdb']);
  });

  it('names a target that cannot be made', async () => {
    const path = join(temporaryFolder(), 'nowhere', 'x.duckdb');
    await expect(writeDatabase(path, {}, fill)).rejects.toMatchObject({ code: 'db' });
  });

  it('does not overwrite a file that is no database', async () => {
    const path = join(temporaryFolder(), 'trace.dat');
    writeFileSync(path, 'a trace');
    await expect(writeDatabase(path, {}, fill)).rejects.toMatchObject({ code: 'usage' });
    expect(readFileSync(path, 'utf8')).toBe('a trace');
  });
});

describe('isDuckdbFile', () => {
  it('is false for what is short, missing, or a folder', async () => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, 'short'), 'DUCK');
    expect(await isDuckdbFile(join(folder, 'short'))).toBe(false);
    expect(await isDuckdbFile(join(folder, 'missing'))).toBe(false);
    expect(await isDuckdbFile(folder)).toBe(false);
  });
});

describe('openImported', () => {
  it('says that a database is not ours', async () => {
    const path = join(temporaryFolder(), 'other.duckdb');
    const other = await openStore(path);
    await other.run('CREATE TABLE t AS SELECT 1 AS a');
    other.close();
    await expect(openImported(path)).rejects.toMatchObject({
      code: 'unknown-format',
      message: `${path}: a DuckDB database, but not one that gmemtrace import has made`,
    });
  });

  it('says that a layout is of another version', async () => {
    const path = join(temporaryFolder(), 'old.duckdb');
    const other = await openStore(path);
    await other.run('CREATE TABLE gmemtrace AS SELECT 99 AS schema_version');
    other.close();
    await expect(openImported(path)).rejects.toMatchObject({
      code: 'unsupported-version',
      message: `${path}: its layout is version 99, this gmemtrace reads version ${SCHEMA_VERSION}`,
    });
  });

  it('names a file that is not there, or is damaged', async () => {
    const folder = temporaryFolder();
    await expect(openImported(join(folder, 'none'))).rejects.toMatchObject({ code: 'not-found' });
    expect(existsSync(join(folder, 'none'))).toBe(false);
    const path = join(folder, 'x.duckdb');
    writeFileSync(path, Buffer.concat([Buffer.alloc(8), Buffer.from('DUCK'), Buffer.alloc(20_000)]));
    await expect(openImported(path)).rejects.toMatchObject({ code: 'db', place: { input: path } });
  });

  it('lets rules replace findings, and streams and macros read, without touching the file', async () => {
    const path = join(temporaryFolder(), 'x.duckdb');
    await writeDatabase(path, {}, fill);
    const before = readFileSync(path);
    const store = closeLater(await openImported(path));
    await lockDown(store);
    expect(await store.rows('SELECT what FROM unavailable')).toEqual([{ what: 'reboots' }]);
    await store.run('DELETE FROM unavailable; DROP TABLE IF EXISTS finding; CREATE TABLE finding (a INTEGER)');
    expect(await store.rows('FROM unavailable')).toEqual([]);
    expect(await store.rows('FROM state_at(5)')).toEqual([]);
    let rows = 0;
    for await (const chunk of streamColumns(store, 'SELECT rip FROM ev_kvm_kvm_exit ORDER BY rip')) rows += chunk.rows;
    expect(rows).toBe(5000);
    await expect(store.run('DELETE FROM trace')).rejects.toThrow('read-only');
    store.close();
    expect(readFileSync(path).equals(before)).toBe(true);
  });
});

describe('exportParquet', () => {
  it('writes a file a table into the folder of the host and trace, which replaces an older one', async () => {
    const folder = temporaryFolder();
    const source = await memoryStore();
    await fill(source);
    await exportParquet(source, folder, 'host/1', 'run 1');
    const made = await exportParquet(source, folder, 'host/1', 'run 1');
    expect(made).toBe(join(folder, 'host=host%2F1', 'trace=run%201'));
    expect(readdirSync(join(folder, 'host=host%2F1'))).toEqual(['trace=run%201']);
    expect(readdirSync(made).sort()).toEqual(
      [...TABLES.map((table) => table.name), 'ev_kvm_kvm_exit', 'gmemtrace'].map((name) => `${name}.parquet`).sort(),
    );
    const reader = await memoryStore();
    const files = join(folder, '**', 'ev_kvm_kvm_exit.parquet');
    expect(
      await reader.rows(
        `SELECT host, trace, count(*)::INTEGER AS n, max(comm) AS comm FROM read_parquet('${files}', hive_partitioning = true) GROUP BY ALL`,
      ),
    ).toEqual([{ host: 'host/1', trace: 'run 1', n: 5000, comm: 'thread number 6' }]);
  });

  it('reads an imported file as well', async () => {
    const folder = temporaryFolder();
    const path = join(folder, 'x.duckdb');
    await writeDatabase(path, {}, fill);
    const store = closeLater(await openImported(path));
    const made = await exportParquet(store, join(folder, 'out'), '..', '');
    expect(made).toBe(join(folder, 'out', 'host=%2E%2E', 'trace=unknown'));
    expect(readdirSync(made)).toContain('ev_kvm_kvm_exit.parquet');
  });

  it('names the folder that cannot be written', async () => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, 'file'), '');
    const store = await memoryStore();
    await expect(exportParquet(store, join(folder, 'file'), 'h', 't')).rejects.toMatchObject({ code: 'db' });
  });
});

describe('sha256Of', () => {
  it('hashes a file, and names one that is not there', async () => {
    const path = join(temporaryFolder(), 'x');
    writeFileSync(path, 'abc');
    expect(await sha256Of(path)).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
    await expect(sha256Of(`${path}y`)).rejects.toMatchObject({ code: 'not-found', place: { input: `${path}y` } });
  });
});
