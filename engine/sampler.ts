/**
 * Chooses the next token: a pure function of logits, parameters, history and one uniform number. Order as in vLLM: bias, penalties,
 * temperature, top-k, top-p, min-p.
 */
import { LOGIT_BIAS_TOKENS_MAX } from "./limits.ts";
import { drawRanked } from "./ranking.ts";
import type { SamplingParameters } from "./types.ts";

export const GREEDY: SamplingParameters = {
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  repetitionPenalty: 1,
  presencePenalty: 0,
  frequencyPenalty: 0,
  logitBias: {},
  seed: 0,
};

/** What the penalties look at. */
export interface TokenHistory {
  /** Ids in prompt and answer, in any order. */
  readonly seen: Iterable<number>;
  /** How often each id occurs in the answer. */
  readonly counts: ReadonlyMap<number, number>;
}

/** Throws a RangeError that names the parameter which makes no sense. */
export function checkSampling(parameters: SamplingParameters): void {
  const { temperature, topK, topP, minP, repetitionPenalty, presencePenalty, frequencyPenalty, seed } = parameters;
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
  for (const [name, value] of Object.entries({ presencePenalty, frequencyPenalty }))
    check(name, value, Math.abs(value) <= 2, "between -2 and 2");
  check("seed", seed, Number.isSafeInteger(seed) && seed >= 0, "a non-negative safe integer");
  const biases = Object.entries(parameters.logitBias);
  check(
    "the number of logitBias entries",
    biases.length,
    biases.length <= LOGIT_BIAS_TOKENS_MAX,
    `at most ${LOGIT_BIAS_TOKENS_MAX}`,
  );
  for (const [token, bias] of biases) {
    check("a token of logitBias", Number(token), /^\d{1,9}$/.test(token), "a token id");
    check(`logitBias of token ${token}`, bias, Math.abs(bias) <= 100, "between -100 and 100");
  }
}

/**
 * The next token's id.
 * @param logits `[vocabulary]`; not changed
 * @param uniform a number in [0, 1): `prf(seed, position)`
 * @param isBarred tokens that must not come now; there is another
 */
export function sample(
  logits: Float32Array,
  parameters: SamplingParameters,
  history: TokenHistory,
  uniform: number,
  isBarred?: (token: number) => boolean,
): number {
  let scores = adjust(logits, parameters, history);
  for (;;) {
    const token = choose(scores, parameters, uniform);
    if (isBarred === undefined || !isBarred(token) || scores[token] === -Infinity) return token;
    if (scores === logits) scores = logits.slice();
    scores[token] = -Infinity;
  }
}

function choose(scores: Float32Array, parameters: SamplingParameters, uniform: number): number {
  const { temperature, topK, topP, minP } = parameters;
  const best = argmax(scores);
  if (temperature === 0 || topK === 1) return best;
  const filtered = topK > 0 || topP < 1 || minP > 0;
  return filtered
    ? drawRanked(scores, parameters, scores[best]!, uniform)
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

/** Scores after bias and penalties: a copy, or the logits themselves where nothing changes. */
function adjust(logits: Float32Array, parameters: SamplingParameters, { seen, counts }: TokenHistory): Float32Array {
  const { repetitionPenalty, presencePenalty, frequencyPenalty, logitBias } = parameters;
  const biases = Object.entries(logitBias);
  if (biases.length === 0 && repetitionPenalty === 1 && presencePenalty === 0 && frequencyPenalty === 0) return logits;
  const scores = logits.slice();
  for (const [token, bias] of biases) if (Number(token) < scores.length) scores[Number(token)]! += bias;
  // That of CTRL (Keskar et al., 2019): each seen token once, towards less likely whatever its sign.
  if (repetitionPenalty !== 1) {
    for (const token of new Set(seen)) {
      const score = scores[token];
      if (score !== undefined) scores[token] = score > 0 ? score / repetitionPenalty : score * repetitionPenalty;
    }
  }
  for (const [token, count] of counts) scores[token]! -= presencePenalty + frequencyPenalty * count;
  return scores;
}

function drawAll(scores: Float32Array, temperature: number, highest: number, uniform: number): number {
  const weights = new Float64Array(scores.length);
  let total = 0;
  for (let i = 0; i < scores.length; i++) total += weights[i] = weightOf(scores[i]!, highest, temperature);
  return pick(weights, total * uniform);
}

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
