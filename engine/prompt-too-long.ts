/** The one refusal that callers tell apart from other wrong arguments: an API has a code of its own for it. */
export class PromptTooLongError extends RangeError {
  override readonly name = "PromptTooLongError";
}
