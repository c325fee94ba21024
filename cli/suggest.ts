/** "Did you mean": the nearest of some known words. */

/** Optimal string alignment distance: insertions, deletions, substitutions and swaps of neighbours. */
function distance(a: string, b: string): number {
  let before: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i += 1) {
    const row = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const change = a[i - 1] === b[j - 1] ? 0 : 1;
      let best = Math.min((last[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, (last[j - 1] ?? 0) + change);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        best = Math.min(best, (before[j - 2] ?? 0) + 1);
      row.push(best);
    }
    before = last;
    last = row;
  }
  return last[b.length] ?? 0;
}

/** The known word that is nearest to `word` and near enough (two fifths of its length), else undefined. Case and `-`/`_` don't count. */
export function nearest(word: string, known: Iterable<string>): string | undefined {
  const plain = (text: string): string => text.replace(/[-_ ]/g, "").toLowerCase();
  let best: string | undefined;
  let least = Math.max(1, Math.floor(plain(word).length * 0.4)) + 1;
  for (const candidate of known) {
    const d = distance(plain(word), plain(candidate));
    if (d < least) {
      least = d;
      best = candidate;
    }
  }
  return best;
}
