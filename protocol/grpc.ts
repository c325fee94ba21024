/** gRPC's status codes, and how binary metadata is written. What ingress and replica must agree on beyond frames. */
import { SkeinError } from "./errors.ts";

/** Status codes by name (grpc.io, status codes). */
export const GRPC_STATUS = {
  OK: 0,
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
} as const;
export type GrpcStatusName = keyof typeof GRPC_STATUS;

const NAMES = Object.keys(GRPC_STATUS) as readonly GrpcStatusName[];

/** `UNKNOWN` for numbers that are none. */
export const grpcStatusName = (code: number): GrpcStatusName => NAMES[code] ?? "UNKNOWN";

/** Details of a status, characters: as in Ray. */
export const GRPC_DETAILS_MAX = 4096;

/** `/package.Service/Method`; null when it isn't one. */
export function splitGrpcPath(path: string): { readonly service: string; readonly method: string } | null {
  const slash = path.lastIndexOf("/");
  return path.startsWith("/") && slash > 1 && slash < path.length - 1
    ? { service: path.slice(1, slash), method: path.slice(slash + 1) }
    : null;
}

/** base64, for metadata whose name ends in `-bin` and for descriptors. Throws `INVALID_ARGUMENT`. */
export function fromBase64(text: string): Uint8Array {
  try {
    return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  } catch (cause) {
    throw new SkeinError("INVALID_ARGUMENT", "What should be base64 is not.", { cause });
  }
}
export const toBase64 = (bytes: Uint8Array): string =>
  btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
