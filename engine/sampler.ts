/**
 * Chooses the next token: a pure function of logits, parameters, history and one uniform number. Order of the filters as in
 * vLLM and Hugging Face: repetition penalty, temperature, top-k, top-p, min-p.
 */
import type { SamplingParameters } from "./types.ts";

export const GREEDY: SamplingParameters = {
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  repetitionPenalty: 1,
  seed: 0,
};

/** First guess, in nats below the best, of how deep the filters reach; doubled until it is deep enough, so that few tokens are sorted. */
const FIRST_DEPTH_NATS = 8;
/** Deeper than this a weight is 0 in 64-bit arithmetic. */
const BOTTOM_NATS = 746;

/** Throws a RangeError that names the parameter which makes no sense. */
export function checkSampling(parameters: SamplingParameters): void {
  const { temperature, topK, topP, minP, repetitionPenalty, seed } = parameters;
  const check = (name: string, value: number, isFine: boolean, expected: string): void => {
    if (!isFine) throw new RangeError(`sampling: ${name} must be ${expected}, not ${value}`);
  };
  check("temperature", temperature, temperature >= 0 && temperature <= 100, "between 0 and 100");
  check("topK", topK, Number.isSafeInteger(topK) && topK >= 0, "a whole number, 0 for no limit");
  check("topP", topP, topP > 0 && topP <= 1, "above 0 and at most 1");
  check("minP", minP, minP >= 0 && minP <= 1, "between 0 and 1");
  check(
    "repetitionPenalty",
    repetitionPenalty,
    repetitionPenalty > 0 && repetitionPenalty <= 100,
    "above 0 and at most 100",
  );
  check("seed", seed, Number.isSafeInteger(seed) && seed >= 0, "a non-negative safe integer");
}

/**
 * The next token's id.
 * @param logits `[vocabulary]`; not changed
 * @param history ids that the repetition penalty applies to (prompt and answer so far), in any order, with or without repeats
 * @param uniform a number in [0, 1): `prf(seed, position)`
 */
export function sample(
  logits: Float32Array,
  parameters: SamplingParameters,
  history: Iterable<number>,
  uniform: number,
): number {
  const { temperature, topK, topP, minP, repetitionPenalty } = parameters;
  const scores = repetitionPenalty === 1 ? logits : penalise(logits, repetitionPenalty, history);
  const best = argmax(scores);
  if (temperature === 0 || topK === 1) return best;
  const filtered = topK > 0 || topP < 1 || minP > 0;
  return filtered
    ? drawFiltered(scores, parameters, scores[best]!, uniform)
    : drawAll(scores, temperature, scores[best]!, uniform);
}

/** Index of the largest value; the first of equals. NaN never wins. */
export function argmax(values: Float32Array): number {
  let best = 0;
  let highest = -Infinity;
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (value > highest) {
      highest = value;
      best = i;
    }
  }
  return best;
}

/** Repetition penalty of CTRL (Keskar et al., 2019): each seen token once, towards less likely whatever its sign. */
function penalise(logits: Float32Array, penalty: number, history: Iterable<number>): Float32Array {
  const scores = logits.slice();
  for (const token of new Set(history)) {
    const score = scores[token];
    if (score !== undefined) scores[token] = score > 0 ? score / penalty : score * penalty;
  }
  return scores;
}

function drawAll(scores: Float32Array, temperature: number, highest: number, uniform: number): number {
  const weights = new Float64Array(scores.length);
  let total = 0;
  for (let i = 0; i < scores.length; i++) total += weights[i] = weightOf(scores[i]!, highest, temperature);
  return pick(weights, total * uniform);
}

function drawFiltered(scores: Float32Array, parameters: SamplingParameters, highest: number, uniform: number): number {
  const { temperature, topP, minP } = parameters;
  const ranked = rank(scores, parameters, highest);
  const weights = ranked.tokens.map((token) => weightOf(scores[token]!, highest, temperature));
  let kept = 0;
  for (let mass = 0; kept < weights.length && mass < topP * ranked.total; kept++) mass += weights[kept]!;
  // The best weighs 1, so min-p is a threshold on the weight itself.
  while (kept > 1 && weights[kept - 1]! < minP) kept--;
  weights.length = kept;
  return ranked.tokens[pick(weights, sum(weights) * uniform)]!;
}

/**
 * The best tokens, best first, equals by id: as many as top-k allows, or enough for top-p and min-p to cut among them.
 * `total` is the weight of all that top-k leaves, whether or not it is listed.
 */
function rank(
  scores: Float32Array,
  parameters: SamplingParameters,
  highest: number,
): { tokens: number[]; total: number } {
  const { temperature, topK, topP, minP } = parameters;
  const limit = topK > 0 ? Math.min(topK, scores.length) : scores.length;
  const isLimited = limit < scores.length;
  let total = 0;
  if (!isLimited) for (const score of scores) total += weightOf(score, highest, temperature);
  for (let depth = FIRST_DEPTH_NATS; ; depth *= 2) {
    const threshold = highest - depth * temperature;
    let tokens: number[] = [];
    let mass = 0;
    for (let i = 0; i < scores.length; i++) {
      if (scores[i]! < threshold) continue;
      tokens.push(i);
      mass += weightOf(scores[i]!, highest, temperature);
    }
    const isDeepEnough = isLimited ? tokens.length >= limit : mass >= topP * total || Math.exp(-depth) < minP;
    if (!isDeepEnough && depth < BOTTOM_NATS) continue;
    tokens = tokens.sort((a, b) => scores[b]! - scores[a]! || a - b).slice(0, limit);
    if (isLimited) total = sum(tokens.map((token) => weightOf(scores[token]!, highest, temperature)));
    return { tokens, total };
  }
}

const sum = (values: readonly number[]): number => values.reduce((left, right) => left + right, 0);

function weightOf(score: number, highest: number, temperature: number): number {
  const weight = Math.exp((score - highest) / temperature);
  return Number.isNaN(weight) ? 0 : weight;
}

/** Index where the running sum of `weights` passes `target`; the last with any weight if rounding leaves none. */
function pick(weights: ArrayLike<number>, target: number): number {
  let sum = 0;
  let last = 0;
  for (let i = 0; i < weights.length; i++) {
    if (weights[i]! > 0) {
      sum += weights[i]!;
      last = i;
      if (sum > target) return i;
    }
  }
  return last;
}
