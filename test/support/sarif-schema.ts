/**
 * The JSON Schema of SARIF 2.1.0 (errata 01, OASIS Open 2020; OASIS lets it be copied and published), as the npm package
 * @microsoft/jest-sarif 1.0.0-beta.0 (MIT) ships it: lib/schemas/sarif-2.1.0-rtm.5.json, compressed, otherwise unchanged.
 */
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { Ajv } from 'ajv';

const packed = readFileSync(new URL('./sarif-2.1.0-rtm.5.schema.json.gz', import.meta.url));
const schema = JSON.parse(gunzipSync(packed).toString('utf8')) as Record<string, unknown>;
// Of draft 04 it uses nothing that later drafts read otherwise, but for the name of its identity; one of its patterns
// is no Unicode pattern.
delete schema['id'];
delete schema['$schema'];
const isLog = new Ajv({ strict: false, validateFormats: false, unicodeRegExp: false }).compile(schema);

/** What the schema finds wrong with a log, a line each; nothing where it is valid. */
export function sarifFaults(log: unknown): readonly string[] {
  isLog(log);
  return (isLog.errors ?? []).map((error) => `${error.instancePath} ${error.message ?? ''}`);
}
