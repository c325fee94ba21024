/** What a generation may ask for: everything is checked before anything runs, and refused by name. */
import { CALLER_CHARACTERS_MAX, STOP_STRING_CHARACTERS_MAX, STOP_STRINGS_MAX, TOP_LOGPROBS_MAX } from "./limits.ts";
import { PromptTooLongError } from "./refusals.ts";
import { checkSampling } from "./sampling.ts";
import type { GenerationRequest } from "./sequence.ts";
import type { Runner } from "./types.ts";

/** Throws a RangeError where the runner can't serve the request, with the reason. */
export function checkRequest(request: GenerationRequest, { config, slotLength }: Runner): void {
  const { promptTokens, generated = [], maxTokens, minTokens = 0, logprobs = 0, stop } = request;
  if (promptTokens.length === 0) throw new RangeError("the prompt is empty: give at least one token");
  const length = promptTokens.length + generated.length;
  if (length >= slotLength) {
    throw new PromptTooLongError(
      `the prompt has ${length} tokens, but a slot holds ${slotLength} for prompt and answer together: ` +
        "shorten the prompt, or load the model with longer slots",
    );
  }
  for (const tokens of [promptTokens, generated]) {
    const foreign = tokens.find((token) => !Number.isInteger(token) || token < 0 || token >= config.vocabulary);
    if (foreign !== undefined)
      throw new RangeError(`token ${foreign} is not in the vocabulary of ${config.vocabulary}`);
  }
  if (maxTokens !== undefined && !(Number.isInteger(maxTokens) && maxTokens > generated.length)) {
    throw new RangeError(`maxTokens must be a whole number above ${generated.length}, not ${maxTokens}`);
  }
  if (!(Number.isInteger(minTokens) && minTokens >= 0 && minTokens <= (maxTokens ?? Infinity))) {
    throw new RangeError(`minTokens must be a whole number from 0 to maxTokens, not ${minTokens}`);
  }
  if (!(Number.isInteger(logprobs) && logprobs >= 0 && logprobs <= TOP_LOGPROBS_MAX)) {
    throw new RangeError(`logprobs must be a whole number from 0 to ${TOP_LOGPROBS_MAX}, not ${logprobs}`);
  }
  checkStop(stop);
  for (const [name, text = ""] of [
    ["caller", request.caller],
    ["cacheSalt", request.cacheSalt],
  ]) {
    if (text.length > CALLER_CHARACTERS_MAX)
      throw new RangeError(`${name} has at most ${CALLER_CHARACTERS_MAX} characters, not ${text.length}`);
  }
  checkSampling(request.sampling);
}

function checkStop(stop: readonly string[]): void {
  if (stop.length > STOP_STRINGS_MAX)
    throw new RangeError(`at most ${STOP_STRINGS_MAX} stop strings, not ${stop.length}`);
  const longest = Math.max(0, ...stop.map((text) => text.length));
  if (longest > STOP_STRING_CHARACTERS_MAX) {
    throw new RangeError(`a stop string has at most ${STOP_STRING_CHARACTERS_MAX} characters, not ${longest}`);
  }
}
