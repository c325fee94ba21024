/**
 * The closed set of error codes that cross a process border, and what each means outside: HTTP status, gRPC code, exit code.
 * Convert at the boundary with `SkeinError.from`; the cause stays here for logs and is never sent.
 */
import { MESSAGE_MAX } from "./limits.ts";

export const ERROR_CODES = [
  "INVALID_ARGUMENT", // the caller's input is wrong; the message says where and what is expected
  "UNAUTHENTICATED", // no credential, or one that isn't known
  "PERMISSION_DENIED", // a known credential that may not do this
  "NOT_FOUND",
  "CONFLICT", // exists already, or in another state than the call needs
  "TOO_LARGE",
  "TIMEOUT", // the request's own deadline passed
  "CANCELLED", // the caller is gone or called it off
  "BUSY", // this replica is full; another may not be
  "BACKPRESSURE", // the queue for this deployment is full
  "UNAVAILABLE", // nothing can serve it now; trying later may help
  "APPLICATION_ERROR", // user code threw
  "REPLICA_DIED", // the replica ended or its link broke while it had the request
  "INCOMPATIBLE", // protocol versions don't overlap; the message says who must be upgraded
  "PROTOCOL", // the peer broke the rules of the wire; the link ends
  "UNIMPLEMENTED", // known, but not supported (yet)
  "INTERNAL", // our own fault
] as const;
export type ErrorCode = (typeof ERROR_CODES)[number];

interface Outside {
  readonly http: number;
  /** Number of the gRPC status code. */
  readonly grpc: number;
  readonly exit: number;
}

export const OUTSIDE: Readonly<Record<ErrorCode, Outside>> = {
  INVALID_ARGUMENT: { http: 400, grpc: 3, exit: 2 },
  UNAUTHENTICATED: { http: 401, grpc: 16, exit: 6 },
  PERMISSION_DENIED: { http: 403, grpc: 7, exit: 6 },
  NOT_FOUND: { http: 404, grpc: 5, exit: 4 },
  CONFLICT: { http: 409, grpc: 9, exit: 1 },
  TOO_LARGE: { http: 413, grpc: 8, exit: 1 },
  TIMEOUT: { http: 408, grpc: 4, exit: 7 },
  CANCELLED: { http: 499, grpc: 1, exit: 130 },
  BUSY: { http: 503, grpc: 8, exit: 1 },
  BACKPRESSURE: { http: 503, grpc: 8, exit: 1 },
  UNAVAILABLE: { http: 503, grpc: 14, exit: 5 },
  APPLICATION_ERROR: { http: 500, grpc: 13, exit: 1 },
  REPLICA_DIED: { http: 500, grpc: 13, exit: 1 },
  INCOMPATIBLE: { http: 426, grpc: 9, exit: 1 },
  PROTOCOL: { http: 502, grpc: 13, exit: 1 },
  UNIMPLEMENTED: { http: 501, grpc: 12, exit: 1 },
  INTERNAL: { http: 500, grpc: 13, exit: 1 },
};

/** Exit codes of the `skein` command. */
export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  badConfig: 3,
  notFound: 4,
  unreachable: 5,
  notAllowed: 6,
  timeout: 7,
  interrupted: 130,
} as const;

/** An error with one of the codes above: what calls fail with, and what user code may throw to tell its caller a code. */
export class SkeinError extends Error {
  readonly code: ErrorCode;
  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message.length > MESSAGE_MAX ? `${message.slice(0, MESSAGE_MAX)}…` : message, options);
    this.name = "SkeinError";
    this.code = code;
  }

  /** Anything thrown becomes one of ours; what isn't ours is `fallback` with its own message. */
  static from(thrown: unknown, fallback: ErrorCode = "INTERNAL"): SkeinError {
    if (thrown instanceof SkeinError) return thrown;
    const message = thrown instanceof Error ? thrown.message : String(thrown);
    return new SkeinError(fallback, message, { cause: thrown });
  }
}

export const isErrorCode = (value: unknown): value is ErrorCode =>
  typeof value === "string" && (ERROR_CODES as readonly string[]).includes(value);
