/** A number as the JSON contract has it: an integer, or hex text where a double could not hold it; null stays null. */
export function jsonInteger(value: bigint | number | null): number | string | null {
  if (value === null || typeof value === 'number') return value;
  const safe = value <= BigInt(Number.MAX_SAFE_INTEGER) && value >= BigInt(Number.MIN_SAFE_INTEGER);
  if (safe) return Number(value);
  return value < 0n ? `-0x${(-value).toString(16)}` : `0x${value.toString(16)}`;
}
