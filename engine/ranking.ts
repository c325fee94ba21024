/**
 * Draws from the best tokens without sorting a vocabulary: tokens fall into buckets by score, and only the buckets in which a filter cuts
 * or the draw ends are put in order. The result is that of the whole list in order, best first, equals by id.
 */
import type { SamplingParameters } from "./types.ts";

/** Buckets for each nat below the best: the finer, the fewer tokens are sorted. */
const PER_NAT = 32;
/** Deeper than this a weight is less than the rounding of the sum that it would be added to. */
const DEPTH_NATS = 40;
const BUCKETS = PER_NAT * DEPTH_NATS;

/** Where a ranked list ends: it has all buckets before `bucket`, which weigh `before`, and the first tokens of that one. */
interface Cut {
  readonly bucket: number;
  readonly tokens: readonly number[];
  readonly before: number;
}

/**
 * The token that `uniform`, in [0, 1), falls on among those that top-k, then top-p, then min-p leave.
 * @param scores not changed; NaN has no weight
 * @param highest the largest of them
 */
export function drawRanked(
  scores: Float32Array,
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

class Ranking {
  readonly #bucketOf: Int16Array;
  readonly #weights: Float64Array;
  readonly #counts: Int32Array;
  readonly #masses: Float64Array;
  readonly #sorted = new Map<number, number[]>();
  readonly #scores: Float32Array;
  readonly #deepest: number;

  constructor(scores: Float32Array, temperature: number, highest: number) {
    // Locals: this runs over the whole vocabulary, for every row of every step.
    const bucketOf = new Int16Array(scores.length);
    const weights = new Float64Array(scores.length);
    const counts = new Int32Array(BUCKETS);
    const masses = new Float64Array(BUCKETS);
    let deepest = 0;
    for (let token = 0; token < scores.length; token++) {
      const depth = (highest - scores[token]!) / temperature;
      if (!(depth < DEPTH_NATS)) {
        bucketOf[token] = -1;
        continue;
      }
      const bucket = (depth * PER_NAT) | 0;
      const weight = Math.exp(-depth);
      bucketOf[token] = bucket;
      weights[token] = weight;
      counts[bucket]!++;
      masses[bucket]! += weight;
      if (bucket > deepest) deepest = bucket;
    }
    this.#scores = scores;
    this.#bucketOf = bucketOf;
    this.#weights = weights;
    this.#counts = counts;
    this.#masses = masses;
    this.#deepest = deepest;
  }

  whole(): Cut {
    const bucket = this.#deepest;
    let before = 0;
    for (let i = 0; i < bucket; i++) before += this.#masses[i]!;
    return { bucket, tokens: this.#inOrder(bucket), before };
  }

  /** The beginning of `list` whose every token is let in, given the number and mass of those before it and its weight. */
  cut(list: Cut, isLetIn: (count: number, mass: number, weight: number) => boolean): Cut {
    let count = 0;
    let before = 0;
    for (let bucket = 0; ; bucket++) {
      const size = this.#counts[bucket]!;
      const mass = this.#masses[bucket]!;
      const isLast = bucket === list.bucket;
      // Who lets the last of a bucket in lets all of it in; its weight is no less than the bucket's end.
      const isWhole = size === 0 || isLetIn(count + size - 1, before + mass, Math.exp(-(bucket + 1) / PER_NAT));
      if (!isLast && isWhole) {
        count += size;
        before += mass;
        continue;
      }
      const tokens = isLast ? list.tokens : this.#inOrder(bucket);
      let sum = before;
      const end = tokens.findIndex((token) => {
        if (!isLetIn(count, sum, this.#weights[token]!)) return true;
        count++;
        sum += this.#weights[token]!;
        return false;
      });
      if (end >= 0 || isLast) return { bucket, tokens: end < 0 ? tokens : tokens.slice(0, end), before };
      before = sum;
    }
  }

  massOf({ tokens, before }: Cut): number {
    return tokens.reduce((sum, token) => sum + this.#weights[token]!, before);
  }

  /** The token of the list where the running sum of weights passes `target`; the last one if rounding leaves none. */
  at(target: number, cut: Cut): number {
    let mass = 0;
    let bucket = 0;
    while (bucket < cut.bucket && mass + this.#masses[bucket]! <= target) mass += this.#masses[bucket++]!;
    const tokens = bucket === cut.bucket ? cut.tokens : this.#inOrder(bucket);
    for (const token of tokens) {
      mass += this.#weights[token]!;
      if (mass > target) return token;
    }
    return tokens.at(-1) ?? this.#lastBefore(bucket);
  }

  #lastBefore(bucket: number): number {
    for (let earlier = bucket - 1; ; earlier--) if (this.#counts[earlier]! > 0) return this.#inOrder(earlier).at(-1)!;
  }

  #inOrder(bucket: number): number[] {
    let tokens = this.#sorted.get(bucket);
    if (tokens === undefined) {
      tokens = [];
      const bucketOf = this.#bucketOf;
      for (let token = 0; token < bucketOf.length; token++) if (bucketOf[token] === bucket) tokens.push(token);
      tokens.sort((a, b) => this.#scores[b]! - this.#scores[a]! || a - b);
      this.#sorted.set(bucket, tokens);
    }
    return tokens;
  }
}
