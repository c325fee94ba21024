/**
 * What a handler's return value is over HTTP, as in Ray Serve (recordings C049 to C049-e): None, bytes, text, JSON, a Response,
 * and, beyond Ray, an async iterable, which is streamed.
 */
import type { FlatHeaders } from "../protocol/heads.ts";
import { isIterable } from "./instance.ts";
import { LazyResponse } from "./response.ts";
import { WebSocketUpgrade } from "./websocket.ts";

export type Piece = string | Uint8Array;

export type Answer =
  | { readonly kind: "whole"; readonly status: number; readonly headers: FlatHeaders; readonly body: Piece }
  /** `null` headers: decided by the first piece (contentTypeOf). */
  | {
      readonly kind: "stream";
      readonly status: number;
      readonly headers: FlatHeaders | null;
      readonly pieces: AsyncIterator<unknown> | Iterator<unknown>;
    }
  | { readonly kind: "upgrade"; readonly upgrade: WebSocketUpgrade };

/** A value that chooses how it is streamed: `LanguageModel`'s generations are text. */
export interface Streamable {
  readonly streamHeaders: FlatHeaders;
}

const TEXT: FlatHeaders = ["content-type", "text/plain; charset=utf-8"];
const BYTES: FlatHeaders = ["content-type", "text/plain"];
const JSON_TYPE: FlatHeaders = ["content-type", "application/json"];
const LINES: FlatHeaders = ["content-type", "application/x-ndjson"];

const WebResponse = globalThis.Response;
const decoder = new TextDecoder();
const rawJson = (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON;

/** Throws a TypeError for what has no form over HTTP (a function, a symbol). */
export function answerOf(value: unknown): Answer {
  if (typeof value === "string") return { kind: "whole", status: 200, headers: TEXT, body: value };
  if (value === null || value === undefined) return { kind: "whole", status: 200, headers: BYTES, body: "" };
  if (typeof value === "object") {
    if (value instanceof WebResponse) return ofResponse(value);
    if (value instanceof Uint8Array) return { kind: "whole", status: 200, headers: BYTES, body: value };
    if (value instanceof ArrayBuffer)
      return { kind: "whole", status: 200, headers: BYTES, body: new Uint8Array(value) };
    if (value instanceof WebSocketUpgrade) return { kind: "upgrade", upgrade: value };
    if (isIterable(value)) {
      const headers = (value as Partial<Streamable>).streamHeaders ?? null;
      return { kind: "stream", status: 200, headers, pieces: iteratorOf(value) };
    }
  }
  return { kind: "whole", status: 200, headers: JSON_TYPE, body: toJson(value) };
}

function ofResponse(response: Response): Answer {
  const plain = LazyResponse.plain(response);
  if (plain !== undefined) {
    const { body, ...head } = plain;
    if (typeof body === "string" || body instanceof Uint8Array) return { kind: "whole", ...head, body };
    return { kind: "stream", ...head, pieces: body[Symbol.asyncIterator]() };
  }
  const headers: string[] = [];
  response.headers.forEach((line, name) => void headers.push(name, line));
  if (response.body === null) return { kind: "whole", status: response.status, headers, body: "" };
  return {
    kind: "stream",
    status: response.status,
    headers,
    pieces: (response.body as unknown as AsyncIterable<Uint8Array>)[Symbol.asyncIterator](),
  };
}

export const iteratorOf = (
  iterable: AsyncIterable<unknown> | Iterable<unknown>,
): AsyncIterator<unknown> | Iterator<unknown> =>
  Symbol.asyncIterator in iterable ? iterable[Symbol.asyncIterator]() : iterable[Symbol.iterator]();

/** Content type of a stream that starts with this piece. */
export function headersFor(first: unknown): FlatHeaders {
  if (first instanceof Uint8Array) return BYTES;
  return typeof first === "string" || first === undefined || first === null ? TEXT : LINES;
}

/** One element of a stream: text and bytes as they are, anything else as a line of JSON. */
export function pieceOf(element: unknown): Piece {
  if (typeof element === "string" || element instanceof Uint8Array) return element;
  return element === null || element === undefined ? "" : `${toJson(element)}\n`;
}

/** Compact JSON in ASCII, as Ray writes it; sets become arrays, maps objects, errors their message, bytes text. */
export function toJson(value: unknown): string {
  const text = JSON.stringify(value, replacer) as string | undefined;
  if (text === undefined) throw new TypeError(`A handler returned a ${typeof value}, which has no form over HTTP.`);
  return /[\u007f-\uffff]/.test(text)
    ? text.replace(/[\u007f-\uffff]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`)
    : text;
}

function replacer(this: unknown, _key: string, value: unknown): unknown {
  if (typeof value === "bigint") return rawJson(value.toString());
  if (typeof value !== "object" || value === null) return value;
  if (value instanceof Set) return [...value];
  if (value instanceof Map) return Object.fromEntries(value);
  if (value instanceof Error) return value.message;
  if (value instanceof Uint8Array) return decoder.decode(value);
  if (ArrayBuffer.isView(value) && !(value instanceof DataView)) return [...(value as unknown as Iterable<unknown>)];
  return value;
}
