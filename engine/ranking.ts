/**
 * Draws from the best tokens without sorting a vocabulary: tokens fall into buckets by score, and only the buckets in which a filter cuts
 * or the draw ends are put in order. The result is that of the whole list in order, best first, equals by id.
 */
import { BUCKETS, scaleOf, type Scores, weightAt } from "./scores.ts";
import type { SamplingParameters } from "./types.ts";

/** Where a ranked list ends: it has all buckets before `bucket`, which weigh `before`, and of that one the first so many tokens. */
interface Cut {
  readonly bucket: number;
  readonly tokens: number;
  readonly before: number;
}

/**
 * The token that `uniform`, in [0, 1), falls on among those that top-k, then top-p, then min-p leave.
 * @param highest the largest score
 */
export function drawRanked(
  scores: Scores,
  { temperature, topK, topP, minP }: SamplingParameters,
  highest: number,
  uniform: number,
): number {
  const ranking = new Ranking(scores, temperature, highest);
  const whole = ranking.whole();
  const best = topK > 0 ? ranking.cut(whole, (count) => count < topK) : whole;
  const total = ranking.massOf(best);
  const likely = topP < 1 ? ranking.cut(best, (_, mass) => mass < topP * total) : best;
  // The best weighs 1, so min-p is a threshold on the weight itself; the best always stays.
  const kept = minP > 0 ? ranking.cut(likely, (count, _, weight) => count === 0 || weight >= minP) : likely;
  return ranking.at(uniform * ranking.massOf(kept), kept);
}

/** The weight at the end of each bucket: no token of it weighs less. */
const ENDS = Float64Array.from({ length: BUCKETS }, (_, bucket) => weightAt(bucket + 0.5));

class Ranking {
  readonly #scores: Scores;
  readonly #highest: number;
  readonly #scale: number;
  readonly #sorted = new Map<number, Int32Array>();

  constructor(scores: Scores, temperature: number, highest: number) {
    this.#scores = scores;
    this.#highest = highest;
    this.#scale = scaleOf(temperature);
    scores.rank(highest, this.#scale);
  }

  #weightOf(token: number): number {
    return weightAt((this.#highest - this.#scores.values[token]!) * this.#scale);
  }

  whole(): Cut {
    const { counts } = this.#scores;
    const bucket = counts.subarray(0, BUCKETS).findLastIndex((count) => count > 0);
    return { bucket, tokens: counts[bucket]!, before: this.#massBefore(bucket) };
  }

  #massBefore(bucket: number): number {
    let mass = 0;
    for (let i = 0; i < bucket; i++) mass += this.#scores.masses[i]!;
    return mass;
  }

  /** The beginning of `list` whose every token is let in, given the number and mass of those before it and its weight. */
  cut(list: Cut, isLetIn: (count: number, mass: number, weight: number) => boolean): Cut {
    const { counts, masses } = this.#scores;
    let count = 0;
    let before = 0;
    for (let bucket = 0; ; bucket++) {
      const size = counts[bucket]!;
      const mass = masses[bucket]!;
      const isLast = bucket === list.bucket;
      // Who lets the last of a bucket in lets all of it in.
      const isWhole = size === 0 || isLetIn(count + size - 1, before + mass, ENDS[bucket]!);
      if (isWhole && isLast) return list;
      if (isWhole) {
        count += size;
        before += mass;
        continue;
      }
      const tokens = this.#inOrder(bucket).subarray(0, isLast ? list.tokens : size);
      let sum = before;
      const end = tokens.findIndex((token) => {
        if (!isLetIn(count, sum, this.#weightOf(token))) return true;
        count++;
        sum += this.#weightOf(token);
        return false;
      });
      if (end >= 0) return { bucket, tokens: end, before };
      if (isLast) return list;
      before = sum;
    }
  }

  massOf({ bucket, tokens, before }: Cut): number {
    const { counts, masses } = this.#scores;
    if (tokens === counts[bucket]!) return before + masses[bucket]!;
    return this.#inOrder(bucket)
      .subarray(0, tokens)
      .reduce((sum, token) => sum + this.#weightOf(token), before);
  }

  /** The token of the list where the running sum of weights passes `target`; the last one if rounding leaves none. */
  at(target: number, cut: Cut): number {
    const { counts, masses } = this.#scores;
    let mass = 0;
    let bucket = 0;
    while (bucket < cut.bucket && mass + masses[bucket]! <= target) mass += masses[bucket++]!;
    const tokens = this.#inOrder(bucket).subarray(0, bucket === cut.bucket ? cut.tokens : counts[bucket]!);
    for (const token of tokens) {
      mass += this.#weightOf(token);
      if (mass > target) return token;
    }
    return tokens.at(-1) ?? this.#lastBefore(bucket);
  }

  #lastBefore(bucket: number): number {
    const earlier = this.#scores.counts.subarray(0, bucket).findLastIndex((count) => count > 0);
    return this.#inOrder(earlier).at(-1)!;
  }

  #inOrder(bucket: number): Int32Array {
    let tokens = this.#sorted.get(bucket);
    if (tokens === undefined) {
      const { values } = this.#scores;
      tokens = this.#scores
        .tokensOf(bucket, this.#highest, this.#scale)
        .slice()
        .sort((a, b) => values[b]! - values[a]! || a - b);
      this.#sorted.set(bucket, tokens);
    }
    return tokens;
  }
}
