/** Request headers of a gRPC call: what the ingress reads, and what goes on as metadata. And how a status is written. Pure. */
import { GRPC_DETAILS_MAX } from "../../protocol/grpc.ts";
import type { FlatHeaders } from "../../protocol/heads.ts";

export interface CallHead {
  /** `/package.Service/Method` */
  readonly path: string;
  readonly metadata: FlatHeaders;
  readonly requestId: string;
  /** Metadata `application`, "" for none. */
  readonly app: string;
  readonly model: string;
  /** The client's deadline, ms; null for none. */
  readonly timeoutMs: number | null;
}

const ID_MAX = 200;
/** What HTTP/2 and gRPC themselves use. */
const TRANSPORT: ReadonlySet<string> = new Set(["content-type", "te", "content-length", "connection", "host"]);
/** ms by unit (gRPC over HTTP2: Timeout). */
const UNITS: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1_000, m: 1, u: 1e-3, n: 1e-6 };
/** Timers can't be longer, ms; a deadline this far away is none. */
const TIMER_MAX_MS = 2 ** 31 - 1;

/** @param rawHeaders name, value, name, value, as they came */
export function readCallHead(path: string, rawHeaders: readonly string[], freshId: () => string): CallHead {
  const metadata: string[] = [];
  let requestId = "";
  let app = "";
  let model = "";
  let timeoutMs: number | null = null;
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!;
    const value = rawHeaders[i + 1]!;
    if (name === "grpc-timeout") timeoutMs = timeoutOf(value);
    if (name.startsWith(":") || name.startsWith("grpc-") || TRANSPORT.has(name)) continue;
    if (name === "request_id") requestId = value.slice(0, ID_MAX);
    else if (name === "application") app = value;
    else if (name === "multiplexed_model_id") model = value;
    // Several binary values may have been joined on the way.
    if (name.endsWith("-bin")) value.split(",").forEach((one) => metadata.push(name, one.trim()));
    else metadata.push(name, value);
  }
  return { path, metadata, requestId: requestId === "" ? freshId() : requestId, app, model, timeoutMs };
}

function timeoutOf(text: string): number | null {
  const [, digits, unit] = /^(\d{1,8})([HMSmun])$/.exec(text) ?? [];
  if (digits === undefined || unit === undefined) return null;
  const ms = Number(digits) * UNITS[unit]!;
  return ms > TIMER_MAX_MS ? null : ms;
}

/** Header lines of a status: percent-encoded as gRPC has it, cut to what a client's header table takes. */
export function statusLines(code: number, details: string): Record<string, string> {
  if (details === "") return { "grpc-status": String(code) };
  const bytes = new TextEncoder().encode(details.slice(0, GRPC_DETAILS_MAX));
  let text = "";
  for (const byte of bytes)
    text +=
      byte >= 0x20 && byte <= 0x7e && byte !== 0x25
        ? String.fromCharCode(byte)
        : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  return { "grpc-status": String(code), "grpc-message": text };
}

/** Metadata as header lines; repeated names become lists. */
export function metadataLines(flat: FlatHeaders): Record<string, string | string[]> {
  const lines: Record<string, string | string[]> = {};
  for (let i = 0; i + 1 < flat.length; i += 2) {
    const name = flat[i]!;
    if (name.startsWith("grpc-") || name.startsWith(":") || TRANSPORT.has(name)) continue;
    const before = lines[name];
    lines[name] = before === undefined ? flat[i + 1]! : [...(Array.isArray(before) ? before : [before]), flat[i + 1]!];
  }
  return lines;
}
