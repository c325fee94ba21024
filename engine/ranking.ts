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

/** The weight at the beginning of each bucket. */
const WEIGHTS = Float64Array.from({ length: BUCKETS }, (_, bucket) => Math.exp(-bucket / PER_NAT));

/** Temperatures below this make no difference to f32 scores, but their inverse must be finite. */
const TEMPERATURE_MIN = 1e-30;

/** exp(-part / PER_NAT) for a part of a bucket, to a relative error of 1e-12: much quicker than Math.exp. */
function decay(part: number): number {
  const x = part * (1 / PER_NAT);
  return 1 - x * (1 - x * (1 / 2) * (1 - x * (1 / 3) * (1 - x * (1 / 4) * (1 - x * (1 / 5) * (1 - x * (1 / 6))))));
}

class Ranking {
  readonly #scores: Float32Array;
  readonly #highest: number;
  /** From a difference of scores to buckets. */
  readonly #scale: number;
  readonly #counts = new Int32Array(BUCKETS);
  readonly #masses = new Float64Array(BUCKETS);
  readonly #sorted = new Map<number, number[]>();
  readonly #deepest: number;

  constructor(scores: Float32Array, temperature: number, highest: number) {
    const scale = PER_NAT / Math.max(temperature, TEMPERATURE_MIN);
    this.#scores = scores;
    this.#highest = highest;
    this.#scale = scale;
    // Locals, and no arrays as long as the vocabulary: this runs over all of it, for every row of every step.
    const counts = this.#counts;
    const masses = this.#masses;
    let deepest = 0;
    for (let token = 0; token < scores.length; token++) {
      const depth = (highest - scores[token]!) * scale;
      if (!(depth < BUCKETS)) continue;
      const bucket = depth | 0;
      counts[bucket]!++;
      masses[bucket]! += WEIGHTS[bucket]! * decay(depth - bucket);
      if (bucket > deepest) deepest = bucket;
    }
    this.#deepest = deepest;
  }

  #weightOf(token: number): number {
    const depth = (this.#highest - this.#scores[token]!) * this.#scale;
    const bucket = depth | 0;
    return WEIGHTS[bucket]! * decay(depth - bucket);
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
        if (!isLetIn(count, sum, this.#weightOf(token))) return true;
        count++;
        sum += this.#weightOf(token);
        return false;
      });
      if (end >= 0 || isLast) return { bucket, tokens: end < 0 ? tokens : tokens.slice(0, end), before };
      before = sum;
    }
  }

  massOf({ tokens, before }: Cut): number {
    return tokens.reduce((sum, token) => sum + this.#weightOf(token), before);
  }

  /** The token of the list where the running sum of weights passes `target`; the last one if rounding leaves none. */
  at(target: number, cut: Cut): number {
    let mass = 0;
    let bucket = 0;
    while (bucket < cut.bucket && mass + this.#masses[bucket]! <= target) mass += this.#masses[bucket++]!;
    const tokens = bucket === cut.bucket ? cut.tokens : this.#inOrder(bucket);
    for (const token of tokens) {
      mass += this.#weightOf(token);
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
      const [scores, highest, scale] = [this.#scores, this.#highest, this.#scale];
      for (let token = 0; token < scores.length; token++) {
        const depth = (highest - scores[token]!) * scale;
        if (depth >= bucket && depth < bucket + 1) tokens.push(token);
      }
      tokens.sort((a, b) => this.#scores[b]! - this.#scores[a]! || a - b);
      this.#sorted.set(bucket, tokens);
    }
    return tokens;
  }
}
