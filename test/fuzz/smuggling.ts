/**
 * Raw HTTP that is almost right, for the client listener. Each is sent whole on a connection of its own, followed by a request for
 * a path that nobody asked for: an answer that speaks of it means that the listener was led to see a request that wasn't one.
 */
import { below, chance, pickOne, type Random } from "../support/random.ts";

export const SMUGGLED = "/smuggled";
const INNER = `GET ${SMUGGLED} HTTP/1.1\r\nhost: x\r\n\r\n`;

/** Requests whose body holds INNER, with framing that two parsers may read in two ways. By RFC 9112, 6.3 each must be refused or end the connection. */
export const AMBIGUOUS: readonly string[] = [
  `content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n${INNER}`,
  `transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n${INNER}`,
  `content-length: 0\r\ncontent-length: ${INNER.length}\r\n\r\n${INNER}`,
  `content-length: 0, ${INNER.length}\r\n\r\n${INNER}`,
  `content-length: +0\r\n\r\n${INNER}`,
  `content-length: 0x0\r\n\r\n${INNER}`,
  `content-length: -1\r\n\r\n${INNER}`,
  `content-length: 1e0\r\n\r\n${INNER}`,
  `content-length : 0\r\n\r\n${INNER}`,
  `content-length:\u000b0\r\n\r\n${INNER}`,
  `content-length: 99999999999999999999\r\n\r\n${INNER}`,
  `transfer-encoding: xchunked\r\n\r\n0\r\n\r\n${INNER}`,
  `transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n${INNER}`,
  `transfer-encoding:\u000bchunked\r\n\r\n0\r\n\r\n${INNER}`,
  `transfer-encoding : chunked\r\n\r\n0\r\n\r\n${INNER}`,
  `transfer-encoding: "chunked"\r\n\r\n0\r\n\r\n${INNER}`,
  `transfer-encoding: chunked\r\ntransfer-encoding: x\r\n\r\n0\r\n\r\n${INNER}`,
  `transfer-encoding: chunked\r\n\r\n-1\r\n${INNER}`,
  `transfer-encoding: chunked\r\n\r\n0x0\r\n\r\n${INNER}`,
  `transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n${INNER}`,
  `transfer-encoding: chunked\r\n\r\n0\n\n${INNER}`,
  `transfer-encoding: chunked\r\n\r\n1\r\nAA0\r\n\r\n${INNER}`,
  ` folded: x\r\ncontent-length: 0\r\n\r\n${INNER}`,
  `x: y\r\n folded\r\ncontent-length: 0, 0\r\n\r\n${INNER}`,
  `x: a\rb: c\r\n\r\n${INNER}`,
  `x: a\u0000b\r\n\r\n${INNER}`,
  `x y: z\r\n\r\n${INNER}`,
  `: empty\r\n\r\n${INNER}`,
];

/** Two plain requests in a row: both are answered. Shows that the search would find a hidden one. */
export const PIPELINED = `content-length: 0\r\n\r\n${INNER}`;

export const ambiguousRequest = (rest: string, host: string): string =>
  `POST /keyed?id=s HTTP/1.1\r\nhost: ${host}\r\n${rest}`;

const LINES = [
  "GET / HTTP/1.1",
  "GET  / HTTP/1.1",
  "GET / HTTP/9.9",
  "get / http/1.1",
  "GET /../.. HTTP/1.1",
  "GET http://x/ HTTP/1.1",
  "CONNECT x:1 HTTP/1.1",
  "OPTIONS * HTTP/1.1",
  "PRI * HTTP/2.0",
  "GET /%00%zz HTTP/1.1",
  "\u0016\u0003\u0001",
  "TRACE / HTTP/1.1",
  "",
];
const HEADERS = [
  "host: x",
  "host: a\r\nhost: b",
  "connection: upgrade\r\nupgrade: websocket",
  "upgrade: h2c\r\nconnection: upgrade",
  "expect: 100-continue",
  "expect: x",
  "te: trailers",
  "trailer: x",
  "range: bytes=0-",
  "x-request-id: \u00ff\u00fe",
  "x-request-timeout-seconds: -1",
  "x-request-timeout-seconds: NaN",
  "content-length: 5",
  "transfer-encoding: chunked",
  "content-type: ;;;",
  "origin: null",
  "cookie: \u0001",
];

/** A request with odd parts, sometimes with bytes changed or cut. */
export function hostileHttp(random: Random): Buffer {
  let text = `${pickOne(random, LINES)}\r\n`;
  for (let i = below(random, 6); i > 0; i--)
    text += `${chance(random, 0.9) ? pickOne(random, HEADERS) : `${"h".repeat(below(random, 20_000))}: v`}\r\n`;
  for (let i = chance(random, 0.02) ? 150 : 0; i > 0; i--) text += `x${i}: y\r\n`;
  text += chance(random, 0.9) ? `\r\n${chance(random, 0.5) ? "5\r\nhello\r\n0\r\n\r\n" : "hello"}` : "";
  const bytes = Buffer.from(text, "latin1");
  for (let i = chance(random, 0.3) ? below(random, 5) : 0; i > 0 && bytes.length > 0; i--)
    bytes[below(random, bytes.length)] = below(random, 256);
  return chance(random, 0.1) ? bytes.subarray(0, below(random, bytes.length + 1)) : bytes;
}
