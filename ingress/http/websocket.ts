/**
 * A client's WebSocket: the handshake is answered when the replica has said 101 (any other head is an ordinary HTTP answer),
 * then messages pass both ways with credit and the close code goes through.
 */
import type { IncomingMessage } from "node:http";
import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { WebSocketServer, type RawData, type WebSocket } from "ws";
import type { EndHead, FailHead, OpenHttp, ResponseHead } from "../../protocol/heads.ts";
import { CLIENT_MESSAGE_MAX } from "../../protocol/limits.ts";
import type { ChunkType } from "../../protocol/stream.ts";
import { Forward, type Reply } from "../forward.ts";
import type { Pool } from "../pool.ts";
import type { Match } from "../routes.ts";
import { answerLines, failAnswer } from "./answers.ts";
import { remoteOf, type HttpContext } from "./context.ts";
import { responseHeaders, type RequestHeaders } from "./headers.ts";
import { nodeHttp } from "./node-http.ts";

/** Body of an answer that refuses an upgrade, bytes. */
const REFUSAL_MAX = 64 * 1024;
/** After the client has closed, the handler may run on this long, ms. */
const CLOSE_GRACE_MS = 5_000;
/** Close codes that may be sent (RFC 6455, 7.4). */
const sendable = (code: number): boolean =>
  (code >= 1000 && code <= 1014 && ![1004, 1005, 1006].includes(code)) || (code >= 3000 && code <= 4999);

/** The protocol that the replica chose is put into the handshake by the `headers` event, so none is chosen here. */
const server = new WebSocketServer({
  noServer: true,
  perMessageDeflate: false,
  maxPayload: CLIENT_MESSAGE_MAX,
  clientTracking: false,
  handleProtocols: () => false,
});

/** A client that was answered and doesn't close is closed when nothing has come for this long, ms. */
const LINGER_MS = 5_000;

/** Writes a whole HTTP answer to a socket that is not node:http's any more, and sees to its end. */
export function answerRaw(
  socket: Duplex,
  answer: { status: number; lines: readonly string[]; body: Uint8Array | string },
): void {
  if (!socket.writable) return;
  let head = `HTTP/1.1 ${answer.status} ${nodeHttp.STATUS_CODES[answer.status] ?? ""}\r\n`;
  for (let i = 0; i + 1 < answer.lines.length; i += 2) head += `${answer.lines[i]}: ${answer.lines[i + 1]}\r\n`;
  socket.write(`${head}content-length: ${Buffer.byteLength(answer.body)}\r\nconnection: close\r\n\r\n`, "latin1");
  socket.end(answer.body);
  // Nobody else reads it: unread bytes would hide the client's end, and the socket would stay for ever.
  socket.resume();
  if (socket instanceof Socket) socket.setTimeout(LINGER_MS, () => socket.destroy());
}

export class SocketExchange implements Reply {
  readonly #context: HttpContext;
  readonly #request: IncomingMessage;
  readonly #socket: Duplex;
  readonly #firstBytes: Buffer;
  readonly #headers: RequestHeaders;
  readonly #match: Match;
  readonly #pool: Pool;
  readonly #forward: Forward;
  readonly #startedAt: number;
  #client: WebSocket | null = null;
  /** A head that refuses, and its body so far. */
  #refusal: ResponseHead | null = null;
  #refusalBody: Uint8Array[] = [];
  #refusalBytes = 0;
  #over = false;

  constructor(
    context: HttpContext,
    request: IncomingMessage,
    socket: Duplex,
    firstBytes: Buffer,
    headers: RequestHeaders,
    match: Match,
    pool: Pool,
  ) {
    this.#context = context;
    this.#request = request;
    this.#socket = socket;
    this.#firstBytes = firstBytes;
    this.#headers = headers;
    this.#match = match;
    this.#pool = pool;
    this.#startedAt = context.now();
    const { app, deployment } = match.route;
    const head: OpenHttp = {
      kind: "http",
      app,
      deployment,
      requestId: headers.requestId,
      deadlineMs: null,
      epoch: 0,
      hops: 1,
      model: headers.model,
      method: "GET",
      path: match.path,
      mount: match.mount,
      scheme: context.guard.scheme,
      headers: headers.forwarded,
      remote: remoteOf(request),
      upgrade: true,
    };
    this.#forward = new Forward(pool, { head, repeatable: true, deadline: null, ended: false }, this);
  }

  start(): void {
    this.#socket.on("close", () => this.#gone(1006));
    this.#forward.start();
  }

  // --- from the replica ---

  onHead(head: ResponseHead): void {
    if (this.#client !== null || this.#refusal !== null) return;
    if (head.status === 101) this.#accept(head);
    else this.#refusal = head;
  }

  onChunk(payload: Uint8Array, type: ChunkType, more: boolean, charge: number): void {
    if (this.#client !== null) {
      // Pieces of a message go out as fragments: nothing is put together here.
      this.#client.send(payload, { binary: type !== "text", fin: !more, compress: false }, () =>
        this.#forward.consumed(charge),
      );
      return;
    }
    if (this.#refusal !== null && (this.#refusalBytes += payload.byteLength) <= REFUSAL_MAX)
      this.#refusalBody.push(payload.slice());
    this.#forward.consumed(charge);
  }

  onEnd(end: EndHead): void {
    if (this.#client !== null) return this.#close(end.close?.code ?? 1000, end.close?.reason ?? "");
    const head = this.#refusal ?? { status: 403, headers: [] };
    const { lines } = responseHeaders(head.headers, this.#headers.requestId);
    answerRaw(this.#socket, { status: head.status, lines, body: Buffer.concat(this.#refusalBody) });
    this.#finish(head.status, head.status >= 400);
  }

  onFail(fail: FailHead): void {
    if (this.#client !== null)
      return this.#close(1011, fail.code === "APPLICATION_ERROR" ? "Internal Server Error" : fail.code);
    const answer = failAnswer(fail, this.#headers.requestId, null, this.#pool.backpressure);
    answerRaw(this.#socket, {
      status: answer.status,
      lines: answerLines(answer, this.#headers.requestId),
      body: answer.body,
    });
    this.#finish(answer.status, true);
  }

  onWritable(): void {
    this.#client?.resume();
  }

  /** A closing frame would wait behind what isn't read. */
  onCut(reason: string): void {
    this.#forward.cancel(reason);
    this.#client?.terminate();
  }

  // --- from and to the client ---

  #accept(head: ResponseHead): void {
    const { lines } = responseHeaders(head.headers, this.#headers.requestId);
    const addLines = (handshake: string[]): void => {
      for (let i = 0; i + 1 < lines.length; i += 2) handshake.push(`${lines[i]}: ${lines[i + 1]}`);
    };
    server.on("headers", addLines);
    server.handleUpgrade(this.#request, this.#socket, this.#firstBytes, (client) => {
      this.#client = client;
      client.on("error", () => {});
      client.on("message", (data: RawData, isBinary: boolean) => {
        if (!this.#forward.write(isBinary ? "bytes" : "text", data as Buffer, false)) client.pause();
      });
      client.on("close", (code, reason) => {
        if (this.#over) return;
        this.#forward.end({ close: { code, reason: reason.toString() } });
        // The handler may still tidy up, but not for ever.
        this.#context.after(CLOSE_GRACE_MS, () => this.#forward.cancel("The client left."));
        this.#finish(code, code !== 1000 && code !== 1001);
      });
    });
    server.off("headers", addLines);
  }

  #close(code: number, reason: string): void {
    const sent = sendable(code) ? code : 1000;
    this.#finish(sent, sent !== 1000 && sent !== 1001);
    this.#client!.close(sent, reason.slice(0, 60));
  }

  /** The connection ended before the handshake was answered. */
  #gone(code: number): void {
    if (this.#over || this.#client !== null) return;
    this.#forward.cancel("The client left.");
    this.#finish(code, true);
  }

  #finish(status: number, isError: boolean): void {
    if (this.#over) return;
    this.#over = true;
    const { route } = this.#match;
    this.#context.finished({
      requestId: this.#headers.requestId,
      method: "WEBSOCKET",
      route: route.name,
      app: route.app,
      deployment: route.deployment,
      status,
      ms: this.#context.now() - this.#startedAt,
      log: route.accessLog,
      isError,
    });
  }
}
