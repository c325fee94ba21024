/** What can be asked of sampling, and its bounds. */
import { LOGIT_BIAS_TOKENS_MAX } from "./limits.ts";
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
