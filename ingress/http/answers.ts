/** What the ingress itself answers, in Ray Serve's words (ray-serve.md 1.11; recorded). Pure. */
import { OUTSIDE } from "../../protocol/errors.ts";
import type { FailHead } from "../../protocol/heads.ts";
import type { RoutedDeployment } from "../../protocol/routes.ts";
import type { Mesh } from "../mesh.ts";

export interface Answer {
  readonly status: number;
  readonly type: string;
  readonly body: string;
  /** Further header lines. */
  readonly lines?: readonly string[];
}

/** Header lines of an answer of the ingress's own. */
export const answerLines = ({ type, lines = [] }: Answer, requestId: string): string[] => [
  "content-type",
  type,
  "x-request-id",
  requestId,
  ...lines,
];

const TEXT = "text/plain; charset=utf-8";
const text = (status: number, body: string): Answer => ({ status, type: TEXT, body });

export const notFound = (path: string): Answer =>
  text(404, `Path '${path}' not found. Ping http://.../-/routes for available routes.`);
export const refused = (why: string): Answer => text(403, why);
/** One answer for no key, an unknown, a wrong, an expired and a revoked one: it doesn't help guessing. */
export const NEEDS_KEY: Answer = {
  ...text(401, "This application needs a valid API key, as `Authorization: Bearer <key>` or `x-api-key: <key>`."),
  lines: ["www-authenticate", "Bearer"],
};
export const INTERNAL: Answer = text(500, "Internal Server Error");
export const TOO_MANY_HEADERS: Answer = text(431, "Too many header lines.");
export const MALFORMED = "Invalid HTTP request received.";

/** Open to everyone, whatever applications ask of their callers. */
export const SYSTEM_PATHS = ["/-/healthz", "/-/routes"] as const;

/** Any method; null: not a path of the system. `path` without query and root path. */
export function systemAnswer(mesh: Mesh, path: string): Answer | null {
  if (!(SYSTEM_PATHS as readonly string[]).includes(path)) return null;
  const why = mesh.notReady();
  if (why !== null) return text(503, why);
  return path === "/-/healthz"
    ? text(200, "success")
    : { status: 200, type: "application/json", body: mesh.routes?.json ?? "{}" };
}

/** Seconds as Ray prints them: 1 is `1.0`. */
const retryAfter = (s: number | null | undefined): string[] => (s == null ? [] : ["retry-after", String(Math.ceil(s))]);
const seconds = (s: number): string => (Number.isInteger(s) ? s.toFixed(1) : String(s));

/** What a failed request is answered. The details of a 500 stay inside. */
export function failAnswer(
  fail: FailHead,
  requestId: string,
  timeoutS: number | null,
  backpressure: RoutedDeployment["backpressure"],
): Answer {
  if (fail.code === "BACKPRESSURE" && backpressure !== undefined)
    return { ...text(backpressure.status_code, fail.message), lines: retryAfter(backpressure.retry_after_s) };
  if (fail.code === "TIMEOUT" && timeoutS !== null)
    return text(408, `Request ${requestId} timed out after ${seconds(timeoutS)}s.`);
  const status = OUTSIDE[fail.code].http;
  return status === 500 ? INTERNAL : text(status, fail.message);
}
