/** Refusals that callers tell apart from other failures: an API has codes of its own for them. */

/** The prompt leaves no room for an answer. */
export class PromptTooLongError extends RangeError {
  override readonly name = "PromptTooLongError";
}

/** More generations run or wait than the engine takes: asking later may help. */
export class EngineFullError extends Error {
  override readonly name = "EngineFullError";
}

/** The answer's grammar can't be compiled, or broke. */
export class GrammarError extends RangeError {
  override readonly name = "GrammarError";
}
