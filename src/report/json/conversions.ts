import type { Conversion, ConversionListing } from '../model-conversions.js';
import { jsonInteger } from './integer.js';

function conversion(c: Conversion): object {
  return {
    id: c.id,
    vm: c.vm,
    vcpu: c.vcpu,
    gmem: c.gmem,
    gpa: jsonInteger(c.gpa),
    offset: jsonInteger(c.offset),
    size: jsonInteger(c.size),
    direction: c.direction,
    origin: c.origin,
    request: c.request,
    mechanism: c.mechanism,
    outcome: c.outcome,
    request_ns: jsonInteger(c.requestNs),
    exit_ns: jsonInteger(c.exitNs),
    commit_ns: jsonInteger(c.commitNs),
    resume_ns: jsonInteger(c.resumeNs),
    first_use_ns: jsonInteger(c.firstUseNs),
    attempts: c.attempts.map((a) => ({
      start_ns: jsonInteger(a.startNs),
      end_ns: jsonInteger(a.endNs),
      // The contract has a positive errno or null: success and an unseen result are both no errno.
      errno: a.errno === 0 ? null : a.errno,
      error_offset: jsonInteger(a.errorOffset),
    })),
    certainty: c.certainty,
  };
}

/** `gmemtrace.conversions/1` (schema/conversions.schema.json), one conversion a line, written as it is read. */
export async function* renderConversions(listing: ConversionListing): AsyncGenerator<string> {
  yield '{\n  "schema": "gmemtrace.conversions/1",\n  "conversions": [';
  let separator = '\n    ';
  for await (const batch of listing.batches()) {
    for (const row of batch) {
      yield separator + JSON.stringify(conversion(row));
      separator = ',\n    ';
    }
  }
  yield separator === '\n    ' ? ']\n}\n' : '\n  ]\n}\n';
}
