/** In which words an endpoint tells of failures: OpenAI's, or those of Anthropic's API. Pure. */
import type { ApiError } from "./errors.ts";

export interface ErrorForm {
  /** An answer's body. */
  body(error: ApiError): string;
  /** The last event of a stream. */
  event(error: ApiError): string;
}

const OPENAI: ErrorForm = { body: ({ body }) => body, event: ({ body }) => `data: ${body}\n\n` };

/** By status; else it is the server's fault. */
const TYPES: Readonly<Record<number, string>> = {
  400: "invalid_request_error",
  401: "authentication_error",
  403: "permission_error",
  404: "not_found_error",
  405: "invalid_request_error",
  408: "timeout_error",
  413: "request_too_large",
  429: "rate_limit_error",
  501: "invalid_request_error",
  503: "overloaded_error",
};
const messagesBody = ({ status, message }: ApiError): string =>
  JSON.stringify({ type: "error", error: { type: TYPES[status] ?? "api_error", message } });
const MESSAGES: ErrorForm = {
  body: messagesBody,
  event: (error) => `event: error\ndata: ${messagesBody(error)}\n\n`,
};

/** @param path of a request, or an endpoint's name */
export const errorFormOf = (path: string): ErrorForm => (/^(\/v1\/)?messages(\/|$)/.test(path) ? MESSAGES : OPENAI);
