/**
 * What the ingress answers in place of an application, in the form that the application's clients read: Ray Serve's plain text, or OpenAI's
 * error object where the deployment says so. Pure.
 */
import { OUTSIDE, type ErrorCode } from "../../protocol/errors.ts";
import type { ErrorFormat } from "../../protocol/routes.ts";
import type { Answer } from "./answers.ts";

/** s; what clients are told to wait where nothing else is known: a replica may be there in a moment. */
const RETRY_AFTER_S = "1";

/** `code`: why, where there is more to say than the status does. `requestId` is named where the details stay inside. */
export function inFormat(format: ErrorFormat | undefined, answer: Answer, code: ErrorCode, requestId: string): Answer {
  if (format === undefined) return answer;
  const { status, lines = [] } = answer;
  const message = status === 500 ? `${answer.body} (Request ID: ${requestId})` : answer.body;
  const error = { message, type: typeOf(status), param: null, code: openaiCode(status, code) };
  return {
    status,
    type: "application/json",
    body: JSON.stringify({ error }),
    lines: status !== 503 || lines.includes("retry-after") ? lines : [...lines, "retry-after", RETRY_AFTER_S],
  };
}

/** The last event of a stream that broke off. */
export const lastEvent = (format: ErrorFormat | undefined, { body }: Answer, code: ErrorCode): string =>
  format === undefined ? `event: error\ndata: ${JSON.stringify({ code, message: body })}\n\n` : `data: ${body}\n\n`;

function typeOf(status: number): string {
  if (status === 429) return "rate_limit_error";
  return status < 500 ? "invalid_request_error" : "server_error";
}

/** Those that OpenAI has a name for; the others have ours. */
function openaiCode(status: number, code: ErrorCode): string {
  if (status === 401) return "invalid_api_key";
  if (status === 429) return "rate_limit_exceeded";
  return OUTSIDE[code].http === 500 ? "internal_error" : code.toLowerCase();
}
