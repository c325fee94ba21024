/**
 * What a generation may ask for: everything is checked before anything runs, and refused by name. Types as well: a request came over a port, from
 * code that the compiler may never have seen, and what throws in the loop ends everybody's answers.
 */
import {
  ALLOWED_TOKENS_MAX,
  CALLER_CHARACTERS_MAX,
  PROMPT_SCORES_MAX,
  STOP_STRING_CHARACTERS_MAX,
  STOP_STRINGS_MAX,
  STOP_TOKENS_MAX,
  TOP_LOGPROBS_MAX,
} from "./limits.ts";
import { PromptTooLongError } from "./refusals.ts";
import { checkSampling, GREEDY } from "./sampling.ts";
import type { GenerationRequest } from "./sequence.ts";
import type { Runner, SamplingParameters } from "./types.ts";

/** Throws a RangeError where the runner can't serve the request, with the reason. */
export function checkRequest(request: GenerationRequest, { config, slotLength }: Runner): void {
  const { promptTokens, generated = [], maxTokens, minTokens = 0, logprobs = 0, stop, stopTokens = [] } = request;
  const { promptLogprobs = 0, allowedTokens = [] } = request;
  for (const [name, tokens] of Object.entries({ promptTokens, generated, stopTokens, allowedTokens }))
    if (!Array.isArray(tokens)) throw new RangeError(`${name} must be a list of token ids`);
  if (promptTokens.length === 0) throw new RangeError("the prompt is empty: give at least one token");
  const length = promptTokens.length + generated.length;
  if (length >= slotLength) {
    throw new PromptTooLongError(
      `the prompt has ${length} tokens, but a slot holds ${slotLength} for prompt and answer together: ` +
        "shorten the prompt, or load the model with longer slots",
    );
  }
  for (const tokens of [promptTokens, generated, stopTokens, allowedTokens]) {
    const foreign = tokens.findIndex((token) => !Number.isInteger(token) || token < 0 || token >= config.vocabulary);
    if (foreign >= 0)
      throw new RangeError(`token ${shown(tokens[foreign])} is not in the vocabulary of ${config.vocabulary}`);
  }
  if (maxTokens !== undefined && !(Number.isInteger(maxTokens) && maxTokens > generated.length)) {
    throw new RangeError(`maxTokens must be a whole number above ${generated.length}, not ${shown(maxTokens)}`);
  }
  if (!(Number.isInteger(minTokens) && minTokens >= 0 && minTokens <= (maxTokens ?? Infinity))) {
    throw new RangeError(`minTokens must be a whole number from 0 to maxTokens, not ${shown(minTokens)}`);
  }
  for (const [name, count] of Object.entries({ logprobs, promptLogprobs }))
    if (!(Number.isInteger(count) && count >= 0 && count <= TOP_LOGPROBS_MAX))
      throw new RangeError(`${name} must be a whole number from 0 to ${TOP_LOGPROBS_MAX}, not ${shown(count)}`);
  const scores = promptScoresOf(request);
  if (scores > PROMPT_SCORES_MAX)
    throw new RangeError(
      `the prompt's ${promptTokens.length} tokens with ${promptLogprobs} alternatives each have ${scores} scores, and at most ${PROMPT_SCORES_MAX} ` +
        "are given: shorten the prompt, or ask for fewer alternatives",
    );
  checkStop(stop);
  if (stopTokens.length > STOP_TOKENS_MAX)
    throw new RangeError(`at most ${STOP_TOKENS_MAX} stop tokens, not ${stopTokens.length}`);
  if (request.allowedTokens !== undefined && (allowedTokens.length === 0 || allowedTokens.length > ALLOWED_TOKENS_MAX))
    throw new RangeError(`allowedTokens has 1 to ${ALLOWED_TOKENS_MAX} ids, not ${allowedTokens.length}`);
  if (request.allowedTokens !== undefined && request.grammar !== undefined)
    throw new RangeError("allowedTokens can't be had together with a grammar");
  const { includesStop = false, ignoresEnd = false, showsControl = false } = request;
  for (const [name, value] of Object.entries({ includesStop, ignoresEnd, showsControl }))
    if (typeof value !== "boolean") throw new RangeError(`${name} must be true or false, not ${shown(value)}`);
  for (const [name, text = ""] of [
    ["caller", request.caller],
    ["cacheSalt", request.cacheSalt],
  ]) {
    if (typeof text !== "string") throw new RangeError(`${name} must be a text, not ${shown(text)}`);
    if (text.length > CALLER_CHARACTERS_MAX)
      throw new RangeError(`${name} has at most ${CALLER_CHARACTERS_MAX} characters, not ${text.length}`);
  }
  checkNumbers(request.sampling);
  checkSampling(request.sampling);
}

/** Of its tokens and their alternatives; 0 where nobody asks. */
export const promptScoresOf = ({ promptTokens, promptLogprobs }: GenerationRequest): number =>
  promptLogprobs === undefined ? 0 : promptTokens.length * (1 + promptLogprobs);

/** Bounds are `checkSampling`'s; they say nothing of types, as "1" is above 0. */
function checkNumbers(sampling: SamplingParameters): void {
  if (!isRecord(sampling)) throw new RangeError("sampling must be an object of parameters");
  for (const name of Object.keys(GREEDY) as (keyof SamplingParameters)[]) {
    const isFine = name === "logitBias" ? isRecord(sampling[name]) : typeof sampling[name] === "number";
    if (!isFine)
      throw new RangeError(
        `sampling: ${name} must be ${name === "logitBias" ? "an object" : "a number"}, not ${shown(sampling[name])}`,
      );
  }
  for (const [token, bias] of Object.entries(sampling.logitBias))
    if (typeof bias !== "number")
      throw new RangeError(`sampling: logitBias of token ${token} must be a number, not ${shown(bias)}`);
}

const isRecord = (value: unknown): value is object =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** A value of any type, for a message. */
const shown = (value: unknown): string =>
  typeof value === "number" || value === undefined || value === null
    ? String(value)
    : `a value of type ${typeof value}`;

function checkStop(stop: readonly string[]): void {
  if (!Array.isArray(stop) || !stop.every((text) => typeof text === "string"))
    throw new RangeError("stop must be a list of texts");
  if (stop.length > STOP_STRINGS_MAX)
    throw new RangeError(`at most ${STOP_STRINGS_MAX} stop strings, not ${stop.length}`);
  const longest = Math.max(0, ...stop.map((text) => text.length));
  if (longest > STOP_STRING_CHARACTERS_MAX) {
    throw new RangeError(`a stop string has at most ${STOP_STRING_CHARACTERS_MAX} characters, not ${longest}`);
  }
}
