/** Failures in OpenAI's words: `{"error":{message,type,param,code}}` with a status. Pure. */
import { EngineDeadError, EngineFullError, PromptTooLongError } from "../../engine/index.ts";
import { OUTSIDE, SkeinError } from "../../protocol/errors.ts";

export interface ErrorFields {
  /** Path of the field that is at fault, such as `messages[0].role`. */
  readonly param?: string | null;
  readonly code?: string | null;
  readonly type?: string;
  /** Seconds after which asking again may help. */
  readonly retryAfter?: number;
}

export class ApiError extends Error {
  override readonly name = "ApiError";
  readonly status: number;
  readonly type: string;
  readonly param: string | null;
  readonly code: string | null;
  readonly retryAfter: number | undefined;

  constructor(status: number, message: string, fields: ErrorFields = {}) {
    super(message);
    this.status = status;
    this.type = fields.type ?? typeOf(status);
    this.param = fields.param ?? null;
    this.code = fields.code ?? null;
    this.retryAfter = fields.retryAfter;
  }

  /** The body of an answer, and the data of a stream's last event. */
  get body(): string {
    const { message, type, param, code } = this;
    return JSON.stringify({ error: { message, type, param, code } });
  }
}

function typeOf(status: number): string {
  if (status === 429) return "rate_limit_error";
  return status < 500 ? "invalid_request_error" : "server_error";
}

/** A field that is known, and that this server can't honour. */
export const unsupported = (param: string, why: string): ApiError =>
  new ApiError(400, `Unsupported parameter: '${param}': ${why}`, { param, code: "unsupported_parameter" });

/** A field that isn't there and must be. */
export const missing = (param: string): ApiError =>
  new ApiError(400, `Missing required parameter: '${param}'.`, { param, code: "missing_required_parameter" });

/** A field whose value makes no sense. */
export const invalid = (param: string, why: string): ApiError =>
  new ApiError(400, `Invalid '${param}': ${why}`, { param, code: "invalid_value" });

/** Anything thrown, as a client may see it: details of our own faults stay in the log. `prompt`: the field that holds the prompt. */
export function apiError(thrown: unknown, requestId: string, prompt = "messages"): ApiError {
  if (thrown instanceof ApiError) return thrown;
  if (thrown instanceof PromptTooLongError)
    return new ApiError(400, sentence(thrown.message), { param: prompt, code: "context_length_exceeded" });
  // All other fields were checked before.
  if (thrown instanceof RangeError)
    return new ApiError(400, sentence(thrown.message), { param: prompt, code: "invalid_value" });
  if (thrown instanceof EngineFullError)
    return new ApiError(429, sentence(thrown.message), { code: "rate_limit_exceeded", retryAfter: 1 });
  if (thrown instanceof EngineDeadError)
    return new ApiError(503, `The model's engine ended: ${thrown.message}.`, { code: "engine_dead", retryAfter: 2 });
  if (thrown instanceof SkeinError && thrown.code === "BACKPRESSURE")
    return new ApiError(429, thrown.message, { code: "rate_limit_exceeded", retryAfter: 1 });
  if (thrown instanceof SkeinError && thrown.code !== "APPLICATION_ERROR") {
    const { http } = OUTSIDE[thrown.code];
    if (http !== 500)
      return new ApiError(http, thrown.message, {
        code: thrown.code.toLowerCase(),
        ...(http === 503 ? { retryAfter: 1 } : {}),
      });
  }
  return new ApiError(500, `Internal Server Error (Request ID: ${requestId})`, { code: "internal_error" });
}

export const sentence = (text: string): string =>
  `${text.charAt(0).toUpperCase()}${text.slice(1)}${text.endsWith(".") ? "" : "."}`;
