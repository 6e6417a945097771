/** Number of edits (insert, delete, replace, swap of neighbours) that turn one word into the other. */
function editDistance(a: string, b: string): number {
  let before: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const current = [i];
    for (let j = 1; j <= b.length; j++) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1;
      let best = Math.min(previous[j]! + 1, current[j - 1]! + 1, previous[j - 1]! + cost);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) best = Math.min(best, before[j - 2]! + 1);
      current.push(best);
    }
    before = previous;
    previous = current;
  }
  return previous[b.length]!;
}

/** The known word that was most likely meant, or null where none is near (over 40 % of it would have to change). */
export function closest(word: string, known: readonly string[]): string | null {
  const lower = word.toLowerCase();
  let best: string | null = null;
  let bestDistance = Infinity;
  for (const candidate of known) {
    const distance = candidate.startsWith(lower) && lower.length > 2 ? 1 : editDistance(lower, candidate.toLowerCase());
    if (distance < bestDistance && distance <= Math.max(1, 0.4 * candidate.length)) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** `did you mean NAME?`, or the list of what there is. */
export function didYouMean(word: string, known: readonly string[]): string {
  const match = closest(word, known);
  return match === null ? `there are: ${known.join(', ')}` : `did you mean ${match}?`;
}
