/**
 * One pass over a request's header lines: what goes on to the replica, and what the ingress itself reads.
 * And which of a replica's header lines go to the client. Knows no sockets.
 */
import type { FlatHeaders } from "../../protocol/heads.ts";

export interface RequestHeaders {
  /** Lines for the replica: without hop-by-hop ones, with a request id. */
  readonly forwarded: string[];
  readonly requestId: string;
  /** Seconds; 0: no timeout; null: the configured one. */
  readonly timeoutS: number | null;
  /** The handler runs on when the client leaves. */
  readonly ignoreDisconnect: boolean;
  readonly idempotencyKey: boolean;
  readonly model: string;
  readonly host: string | undefined;
  readonly origin: string | undefined;
  /** A body follows (its length may still be 0 when chunked). */
  readonly hasBody: boolean;
}

/** `raw` as in node:http's rawHeaders. `freshId` makes a request id when the client sent none. */
export function readHeaders(raw: readonly string[], freshId: () => string): RequestHeaders {
  const forwarded: string[] = [];
  let requestId: string | undefined;
  let timeoutS: number | null = null;
  let ignoreDisconnect = false;
  let idempotencyKey = false;
  let model = "";
  let host: string | undefined;
  let origin: string | undefined;
  let hasBody = false;
  let named: string | undefined;
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = raw[i]!;
    const value = raw[i + 1]!;
    const lower = name.toLowerCase();
    switch (lower) {
      case "connection":
        // A request's connection options name further lines that end here.
        named = named === undefined ? value : `${named},${value}`;
        continue;
      case "keep-alive":
      case "proxy-connection":
      case "proxy-authorization":
      case "te":
      case "trailer":
      case "upgrade":
      case "expect":
        continue;
      case "transfer-encoding":
        hasBody = true;
        continue;
      case "content-length":
        hasBody ||= value !== "0";
        break;
      case "x-request-id":
        requestId ??= value;
        break;
      case "x-request-timeout-seconds":
        timeoutS = parseTimeout(value);
        break;
      case "x-request-disconnect-disabled":
        ignoreDisconnect = value.trim() === "?1";
        break;
      case "idempotency-key":
        idempotencyKey = true;
        break;
      case "serve_multiplexed_model_id":
      // Proxies on the way may refuse underscores.
      case "serve-multiplexed-model-id":
        model = value;
        break;
      case "host":
        host ??= value;
        break;
      case "origin":
        origin = value;
        break;
      default:
    }
    forwarded.push(lower, value);
  }
  if (requestId === undefined) {
    requestId = freshId();
    forwarded.push("x-request-id", requestId);
  }
  const kept = named === undefined ? forwarded : withoutNamed(forwarded, named);
  return { forwarded: kept, requestId, timeoutS, ignoreDisconnect, idempotencyKey, model, host, origin, hasBody };
}

/** Lines that a connection option may not take away, because the meaning of the request rests on them. */
const ALWAYS_KEPT: ReadonlySet<string> = new Set([
  "host",
  "content-length",
  "x-request-id",
  "authorization",
  "x-api-key",
  "cookie",
  "close",
  "keep-alive",
]);

function withoutNamed(headers: string[], options: string): string[] {
  const dropped = new Set(
    options
      .toLowerCase()
      .split(",")
      .map((option) => option.trim())
      .filter((option) => !ALWAYS_KEPT.has(option)),
  );
  if (dropped.size === 0) return headers;
  return headers.filter((_, i) => !dropped.has(headers[i - (i % 2)]!));
}

/** As Ray: more than 0 counts, 0 or less means none, what is no number is not there. */
function parseTimeout(text: string): number | null {
  const seconds = text.trim() === "" ? Number.NaN : Number(text);
  return Number.isFinite(seconds) ? Math.max(0, seconds) : null;
}

const HOP_BY_HOP: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
  "te",
  "trailer",
  "proxy-authenticate",
]);

export interface ResponseHeaders {
  /** Lines for the client, without framing. */
  readonly lines: string[];
  /** As the handler said, null: nothing said. NaN: not a number. */
  readonly contentLength: number | null;
  readonly eventStream: boolean;
}

/** Cleans a replica's header lines and adds the request id unless the handler set one. */
export function responseHeaders(headers: FlatHeaders, requestId: string): ResponseHeaders {
  const lines: string[] = [];
  let contentLength: number | null = null;
  let eventStream = false;
  let hasId = false;
  for (let i = 0; i + 1 < headers.length; i += 2) {
    const name = headers[i]!;
    const value = headers[i + 1]!;
    const lower = name.toLowerCase();
    if (HOP_BY_HOP.has(lower)) continue;
    if (lower === "content-length") {
      contentLength = /^\d+$/.test(value) ? Number(value) : Number.NaN;
      continue;
    }
    if (lower === "x-request-id") hasId = true;
    else if (lower === "content-type") eventStream = value.startsWith("text/event-stream");
    lines.push(name, value);
  }
  if (!hasId) lines.push("x-request-id", requestId);
  return { lines, contentLength, eventStream };
}
