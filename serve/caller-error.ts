/** What a caller learns of an error that user code threw: a code, the class's name and the message. Pure. */
import { SkeinError, type ErrorCode } from "../protocol/errors.ts";

/** What of our own errors a handler may let through to its caller; anything else is the application's error. */
const PASSED: ReadonlySet<ErrorCode> = new Set([
  "INVALID_ARGUMENT",
  "NOT_FOUND",
  "TOO_LARGE",
  "TIMEOUT",
  "CANCELLED",
  "BACKPRESSURE",
  "UNIMPLEMENTED",
]);
/** Characters of a message. */
const MESSAGE_MAX = 8_000;

export const isPassed = (error: unknown): error is SkeinError => error instanceof SkeinError && PASSED.has(error.code);

/** The error as it arrives at a caller, wherever that is. `cause` is the original, which never travels. */
export function callerError(error: unknown): SkeinError {
  const message =
    error instanceof SkeinError
      ? error.message
      : error instanceof Error
        ? `${error.name}: ${error.message}`
        : String(error);
  return new SkeinError(isPassed(error) ? error.code : "APPLICATION_ERROR", message.slice(0, MESSAGE_MAX), {
    cause: error,
  });
}
