import { readFileSync } from 'node:fs';
import Ajv2020 from 'ajv/dist/2020.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { csvOutput } from '../../src/report/csv/index.js';
import { jsonOutput } from '../../src/report/json/index.js';
import { markdownOutput } from '../../src/report/markdown/index.js';
import { readAnalysis, type Analysis } from '../../src/report/model.js';
import { readConversions } from '../../src/report/model-conversions.js';
import { PLAIN, type Chunks, type RenderOptions } from '../../src/report/render.js';
import { textOutput } from '../../src/report/text/index.js';
import type { Store } from '../../src/store/db.js';
import { openFilledStore } from './filled-store.js';

const collect = async (chunks: Chunks): Promise<string> => {
  let text = '';
  for await (const chunk of chunks) text += chunk;
  return text;
};

function validator(name: string): (value: unknown) => unknown {
  const ajv = new Ajv2020.default({ strict: true, allowUnionTypes: true, allErrors: true });
  const schema = JSON.parse(readFileSync(new URL(`../../schema/${name}`, import.meta.url), 'utf8')) as object;
  const validate = ajv.compile(schema);
  return (value) => (validate(value) ? [] : validate.errors);
}

const at80: RenderOptions = { ...PLAIN, width: 80 };

describe('analysis', () => {
  let store: Store;
  let analysis: Analysis;
  beforeAll(async () => {
    store = await openFilledStore();
    analysis = await readAnalysis(store);
  });
  afterAll(() => store.close());

  it('writes the JSON contract, key by key in its order', async () => {
    const text = await collect(jsonOutput.analysis!(analysis, PLAIN));
    await expect(text).toMatchFileSnapshot('snapshots/analysis.json.txt');
    expect(validator('analysis.schema.json')(JSON.parse(text))).toEqual([]);
  });

  it('writes integers over 2^53 as hex text', async () => {
    const text = await collect(jsonOutput.analysis!(analysis, PLAIN));
    expect(JSON.parse(text)).toMatchObject({ gmems: [{ inode: '0xffffffffffffffff' }] });
  });

  it('says null, never 0, of what the trace cannot show', async () => {
    const missing = await openFilledStore(['references', 'reboots', 'punches']);
    await missing.run('DELETE FROM memory_fault; DELETE FROM conversion; DELETE FROM conversion_attempt');
    await missing.run(`INSERT INTO unavailable SELECT unnest(['memory_faults', 'attempts', 'conversions']), '', ''`);
    const result: unknown = JSON.parse(await collect(jsonOutput.analysis!(await readAnalysis(missing), PLAIN)));
    missing.close();
    expect(result).toMatchObject({
      conversions: { total: null, attempts: { total: null, failed: null, by_errno: {} } },
      memory_faults: { total: null, by_vm: [] },
      punches: { total: null, bytes: null },
      reboots: null,
      references: { outstanding: null },
    });
    expect(validator('analysis.schema.json')(result)).toEqual([]);
  });

  it('prints the verdict first and fits 80 columns', async () => {
    const text = await collect(textOutput.analysis!(analysis, at80));
    await expect(text).toMatchFileSnapshot('snapshots/analysis.80.txt');
    expect(text.split('\n').filter((line) => line.length > 80)).toEqual([]);
    expect(text).not.toMatch(/\u001b/);
  });

  it('draws with ASCII where the terminal has no more', async () => {
    const text = await collect(textOutput.analysis!(analysis, { ...at80, unicode: false }));
    expect(text).not.toMatch(/[▁-█│]/);
  });

  it('writes Markdown with the verdict as heading and details folded', async () => {
    await expect(await collect(markdownOutput.analysis!(analysis, PLAIN))).toMatchFileSnapshot(
      'snapshots/analysis.md.txt',
    );
  });

  it('writes findings as CSV', async () => {
    const [head, row] = (await collect(csvOutput.analysis!(analysis, PLAIN))).split('\n');
    expect(head).toBe('rule,severity,verdict,vm,gmem,vcpu,title,since_ns,until_ns,count,certainty,hint,thresholds');
    expect(row).toBe(
      'conversion-stall,warning,fail,1,1,0,to_shared gpa 0x100030000+8K took 2.00 ms,100000300000,100002300000,1,' +
        'observed,look at the VMM,"min_ns = 1000000, factor = 8"',
    );
  });

  it('does not say PASS where there was nothing to judge', async () => {
    const empty = await openFilledStore([]);
    await empty.run('DELETE FROM conversion; DELETE FROM conversion_attempt; DELETE FROM finding');
    const text = await collect(textOutput.analysis!(await readAnalysis(empty), at80));
    empty.close();
    expect(text).toContain('NOTHING SEEN  no conversion in this trace, nothing to judge');
    expect(text).not.toContain('PASS');
  });
});

describe('conversions', () => {
  let store: Store;
  beforeAll(async () => {
    store = await openFilledStore();
  });
  afterAll(() => store.close());

  it('writes gmemtrace.conversions/1 in order of request', async () => {
    const text = await collect(jsonOutput.conversions!(await readConversions(store, {}), PLAIN));
    await expect(text).toMatchFileSnapshot('snapshots/conversions.json.txt');
    expect(validator('conversions.schema.json')(JSON.parse(text))).toEqual([]);
  });

  it('is a valid document without a conversion', async () => {
    const listing = await readConversions(store, { where: 'false' });
    const text = await collect(jsonOutput.conversions!(listing, PLAIN));
    expect(JSON.parse(text)).toEqual({ schema: 'gmemtrace.conversions/1', conversions: [] });
  });

  it('says what it left out and how to see it', async () => {
    const text = await collect(textOutput.conversions!(await readConversions(store, { limit: 2 }), at80));
    expect(text).toContain('showing 2 of 6 conversions; --limit 0 shows all');
  });

  it('lists the slowest first', async () => {
    const listing = await readConversions(store, { slowest: 2 });
    const ids: number[] = [];
    for await (const batch of listing.batches()) ids.push(...batch.map((c) => c.id));
    expect(ids).toEqual([3, 2]);
  });

  it.each([
    ['outcom = 1', /outcom/],
    ['1=1); DROP TABLE vm; --', /one SELECT|syntax/i],
  ])('refuses --where %s', async (where, message) => {
    await expect(readConversions(store, { where })).rejects.toMatchObject({
      code: 'usage',
      message: expect.stringMatching(message) as string,
    });
  });
});
