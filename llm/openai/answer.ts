/**
 * What an endpoint answers, as it travels from a model's replica to the router: a head, then pieces of the body as text.
 * Values that a handle call can carry; knows nothing of HTTP's machinery.
 */
import type { ErrorForm } from "./error-form.ts";
import { ApiError, apiError } from "./errors.ts";

export interface AnswerHead {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
}

/** The head first, then text. */
export type Answer = AsyncGenerator<AnswerHead | string, void, undefined>;

const JSON_HEADERS = { "content-type": "application/json" };
/** Proxies would collect a stream before they pass it on, unless they are told. */
const STREAM_HEADERS = {
  "content-type": "text/event-stream; charset=utf-8",
  "cache-control": "no-cache",
  "x-accel-buffering": "no",
};

export const jsonHead = (status = 200): AnswerHead => ({ status, headers: JSON_HEADERS });
export const STREAM_HEAD: AnswerHead = { status: 200, headers: STREAM_HEADERS };

export function errorHead({ status, retryAfter }: ApiError): AnswerHead {
  return {
    status,
    headers: retryAfter === undefined ? JSON_HEADERS : { ...JSON_HEADERS, "retry-after": String(retryAfter) },
  };
}

/** One event of a stream whose data is JSON text. */
export const event = (json: string): string => `data: ${json}\n\n`;

/** A stream that breaks and has a form of its own for that. */
export class BrokenStream extends Error {
  override readonly name = "BrokenStream";
  /** What it still says of the failure. */
  readonly lastWords: (error: ApiError) => string;

  constructor(cause: unknown, lastWords: (error: ApiError) => string) {
    super("The stream broke.", { cause });
    this.lastWords = lastWords;
  }
}

/**
 * Puts failures into words: before the head as an answer of their own, in mid-stream as one event, after which the stream ends.
 * `prompt` is the field that holds the prompt; `onFault` hears of those that are ours.
 */
export async function* withErrors(
  answer: Answer,
  requestId: string,
  { prompt, errors }: { readonly prompt: string; readonly errors: ErrorForm },
  onFault: (error: unknown) => void,
): Answer {
  let begun = false;
  try {
    for await (const part of answer) {
      begun = true;
      yield part;
    }
  } catch (caught) {
    const { cause: thrown, lastWords } =
      caught instanceof BrokenStream ? caught : { cause: caught, lastWords: (error: ApiError) => errors.event(error) };
    const error = apiError(thrown, requestId, prompt);
    if (error.status >= 500 && !(thrown instanceof ApiError)) onFault(thrown);
    if (begun) return yield lastWords(error);
    yield errorHead(error);
    yield errors.body(error);
  }
}
