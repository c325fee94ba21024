/**
 * What frames carry as msgpack: hello, open, head, end, fail, cancel, goaway. Types, codec and the checks that a hostile peer must pass.
 * Checks are by hand, not by zod: `open` and `head` are on the path of every request.
 */
import { Packr } from "msgpackr";
import { SkeinError, isErrorCode, type ErrorCode } from "./errors.ts";
import { FRAME_PAYLOAD_MAX } from "./limits.ts";

/** Plain msgpack: no records (they keep state per connection), maps as objects. */
const packr = new Packr({ useRecords: false, mapsAsObjects: true, int64AsType: "number", copyBuffers: true });

export const pack = (value: unknown): Uint8Array => packr.pack(value);

/**
 * Throws `PROTOCOL` when the bytes are not msgpack. Byte arrays inside are copies: arguments and results of handle calls reach user code,
 * to which a view would show the rest of the message, other requests' bytes included.
 */
export function unpack(bytes: Uint8Array): unknown {
  try {
    return packr.unpack(bytes);
  } catch (cause) {
    throw new SkeinError("PROTOCOL", "A payload is not msgpack.", { cause });
  }
}

/** Protocol versions this build speaks. N and N-1 are accepted. */
export const PROTOCOL = { min: 1, max: 1 } as const;

/** First frame each way. */
export interface Hello {
  readonly min: number;
  readonly max: number;
  readonly build: string;
  readonly features: readonly string[];
  /** Of the dialler: the ticket (ticket.ts) that lets this replica in. */
  readonly ticket?: string;
  /** Of the listener: who answers, and its clock (ms since 1970), so that deadlines on disk can be compared. */
  readonly ingress?: string;
  readonly timeMs?: number;
}

/** Header lines as in node:http's rawHeaders: name, value, name, value. */
export type FlatHeaders = readonly string[];

export interface OpenBase {
  readonly app: string;
  readonly deployment: string;
  readonly requestId: string;
  /** Remaining time in ms, null for none. A duration, because clocks differ. */
  readonly deadlineMs: number | null;
  /** Attempt of this stream; rises when it is opened again elsewhere. */
  readonly epoch: number;
  /** Ingresses that this request has passed. */
  readonly hops: number;
  /** Multiplexed model id, "" for none. */
  readonly model: string;
  /** Given back from `head` of an earlier epoch; see design.md, resumable streams. Not used yet. */
  readonly resume?: unknown;
}
/** An HTTP request; the body follows as byte chunks. `path` has the query and is without root path and route prefix. */
export interface OpenHttp extends OpenBase {
  readonly kind: "http";
  readonly method: string;
  readonly path: string;
  /** root_path + route_prefix that was cut off, "" for none: Request.url is built from host, mount and path. */
  readonly mount: string;
  readonly scheme: "http" | "https";
  readonly headers: FlatHeaders;
  readonly remote: string;
  /** True for a WebSocket upgrade: chunks of text and bytes are messages, both ways. */
  readonly upgrade: boolean;
}
/** A method call through a handle; the body is one msgpack array of arguments (value chunks). */
export interface OpenCall extends OpenBase {
  readonly kind: "call";
  readonly method: string;
  /** True: the result is an iterable, each element one value chunk. */
  readonly stream: boolean;
}
/** A gRPC call; each chunk sequence without MORE is one message's bytes, both ways. */
export interface OpenGrpc extends OpenBase {
  readonly kind: "grpc";
  /** `/package.Service/Method` */
  readonly path: string;
  readonly metadata: FlatHeaders;
}
export type OpenHead = OpenHttp | OpenCall | OpenGrpc;

export interface ResponseHead {
  /** HTTP status; 0 for calls and gRPC. */
  readonly status: number;
  readonly headers: FlatHeaders;
  /** Resume context; see design.md. Not used yet. */
  readonly resume?: unknown;
}

export interface EndHead {
  /** Trailing headers or metadata. */
  readonly trailers?: FlatHeaders;
  /** gRPC status. */
  readonly status?: { readonly code: number; readonly message: string };
  readonly usage?: unknown;
  /** Close code and reason of a client's WebSocket. */
  readonly close?: { readonly code: number; readonly reason: string };
}

export interface FailHead {
  readonly code: ErrorCode;
  readonly message: string;
  /** Extra for gRPC: status and trailing metadata chosen by user code. */
  readonly status?: { readonly code: number; readonly message: string };
  readonly trailers?: FlatHeaders;
}

const isObject = (v: unknown): v is Record<string, unknown> => typeof v === "object" && v !== null && !Array.isArray(v);
const isText = (v: unknown): v is string => typeof v === "string";
const isCount = (v: unknown): v is number => typeof v === "number" && Number.isInteger(v) && v >= 0;
const isFlat = (v: unknown): v is FlatHeaders => Array.isArray(v) && v.length % 2 === 0 && v.every(isText);
const isStatus = (v: unknown): boolean => v === undefined || (isObject(v) && isCount(v.code) && isText(v.message));

const bad = (what: string): SkeinError => new SkeinError("PROTOCOL", `Malformed ${what}.`);

export function decodeHello(bytes: Uint8Array): Hello {
  const v = unpack(bytes);
  if (!isObject(v) || !isCount(v.min) || !isCount(v.max) || !isText(v.build)) throw bad("hello");
  if (!Array.isArray(v.features) || v.features.length > 64 || !v.features.every(isText)) throw bad("hello.features");
  if (v.ticket !== undefined && !isText(v.ticket)) throw bad("hello.ticket");
  if (v.ingress !== undefined && !isText(v.ingress)) throw bad("hello.ingress");
  if (v.timeMs !== undefined && typeof v.timeMs !== "number") throw bad("hello.timeMs");
  return v as unknown as Hello;
}

/** Throws `INCOMPATIBLE`, naming the side to upgrade, when versions don't overlap. */
export function checkCompatible(
  mine: { min: number; max: number },
  theirs: { min: number; max: number; build: string },
): void {
  if (theirs.max < mine.min)
    throw new SkeinError(
      "INCOMPATIBLE",
      `The peer (build ${theirs.build}) speaks protocol ${theirs.min} to ${theirs.max}, this side needs ${mine.min}: upgrade the peer.`,
    );
  if (theirs.min > mine.max)
    throw new SkeinError(
      "INCOMPATIBLE",
      `The peer (build ${theirs.build}) needs protocol ${theirs.min}, this side speaks up to ${mine.max}: upgrade this side.`,
    );
}

/*
 * `open` and `head` are on the path of every request: they travel as positional arrays, which msgpack reads in half the time of maps.
 * New fields go to the end; a reader ignores what it doesn't know.
 */
const OPEN_KINDS = ["http", "call", "grpc"] as const;

/** Throws `TOO_LARGE` when the head fits no frame. */
export function encodeOpen(head: OpenHead): Uint8Array {
  const { app, deployment, requestId, deadlineMs, epoch, hops, model } = head;
  const kind = OPEN_KINDS.indexOf(head.kind);
  const fields: unknown[] = [kind, app, deployment, requestId, deadlineMs, epoch, hops, model, head.resume ?? null];
  switch (head.kind) {
    case "http":
      fields.push(head.method, head.path, head.mount, head.scheme === "https", head.headers, head.remote, head.upgrade);
      return packHead("The head of a request", fields);
    case "call":
      fields.push(head.method, head.stream);
      return packHead("The head of a call", fields);
    case "grpc":
      fields.push(head.path, head.metadata);
      return packHead("The head of a gRPC call", fields);
  }
}

export function decodeOpen(bytes: Uint8Array): OpenHead {
  const v = unpack(bytes);
  if (!Array.isArray(v)) throw bad("open");
  const [kindNumber, app, deployment, requestId, deadlineMs, epoch, hops, model, resume, a, b, c, d, e, f, g] =
    v as unknown[];
  if (!isText(app) || !isText(deployment) || !isText(requestId) || !isText(model)) throw bad("open");
  if (deadlineMs !== null && !(typeof deadlineMs === "number" && Number.isFinite(deadlineMs)))
    throw bad("open.deadlineMs");
  if (!isCount(epoch) || !isCount(hops)) throw bad("open.epoch or open.hops");
  const base: OpenBase = { app, deployment, requestId, deadlineMs, epoch, hops, model, resume: resume ?? undefined };
  switch (OPEN_KINDS[kindNumber as number]) {
    case "http":
      if (
        !isText(a) ||
        !isText(b) ||
        !isText(c) ||
        typeof d !== "boolean" ||
        !isFlat(e) ||
        !isText(f) ||
        typeof g !== "boolean"
      )
        throw bad("open (http)");
      return {
        ...base,
        kind: "http",
        method: a,
        path: b,
        mount: c,
        scheme: d ? "https" : "http",
        headers: e,
        remote: f,
        upgrade: g,
      };
    case "call":
      if (!isText(a) || typeof b !== "boolean") throw bad("open (call)");
      return { ...base, kind: "call", method: a, stream: b };
    case "grpc":
      if (!isText(a) || !isFlat(b)) throw bad("open (grpc)");
      return { ...base, kind: "grpc", path: a, metadata: b };
    default:
      throw bad("open.kind");
  }
}

export const encodeResponseHead = (head: ResponseHead): Uint8Array =>
  packHead("The response head", [head.status, head.headers, head.resume ?? null]);

export function decodeResponseHead(bytes: Uint8Array): ResponseHead {
  const v = unpack(bytes);
  if (!Array.isArray(v)) throw bad("head");
  const [status, headers, resume] = v as unknown[];
  if (!isCount(status) || status > 999 || !isFlat(headers)) throw bad("head");
  return { status, headers, resume: resume ?? undefined };
}

const EMPTY_END: EndHead = Object.freeze({});

export function decodeEnd(bytes: Uint8Array): EndHead {
  if (bytes.byteLength === 0) return EMPTY_END;
  const v = unpack(bytes);
  if (!isObject(v) || (v.trailers !== undefined && !isFlat(v.trailers)) || !isStatus(v.status)) throw bad("end");
  if (v.close !== undefined && !(isObject(v.close) && isCount(v.close.code) && isText(v.close.reason)))
    throw bad("end.close");
  return v as unknown as EndHead;
}

export function decodeFail(bytes: Uint8Array): FailHead {
  const v = unpack(bytes);
  if (!isObject(v) || !isErrorCode(v.code) || !isText(v.message) || !isStatus(v.status)) throw bad("fail");
  if (v.trailers !== undefined && !isFlat(v.trailers)) throw bad("fail.trailers");
  return v as unknown as FailHead;
}

/** Packs a head and checks that it fits one frame; `TOO_LARGE` names what didn't. */
export function packHead(what: string, value: unknown): Uint8Array {
  const bytes = pack(value);
  if (bytes.byteLength > FRAME_PAYLOAD_MAX)
    throw new SkeinError("TOO_LARGE", `${what} has ${bytes.byteLength} bytes, the limit is ${FRAME_PAYLOAD_MAX}.`);
  return bytes;
}
