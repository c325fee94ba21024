/**
 * One HTTP request that a deployment answers: node:http's request and response on one side, a Forward on the other.
 * A whole small answer is one write; of a stream, what one turn of the event loop brought is one write, the first with the head.
 * The client's socket holds the replica back: no credit for bytes that the socket has not taken.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { EndHead, FailHead, OpenHttp, ResponseHead } from "../../protocol/heads.ts";
import type { ChunkType } from "../../protocol/stream.ts";
import { Forward, type Reply } from "../forward.ts";
import type { Pool } from "../pool.ts";
import { repeatable } from "../retry.ts";
import type { Match } from "../routes.ts";
import { answerLines, failAnswer, INTERNAL, type Answer } from "./answers.ts";
import { remoteOf, type HttpContext } from "./context.ts";
import { inFormat, lastEvent } from "./error-format.ts";
import { responseHeaders, type RequestHeaders } from "./headers.ts";

/** Bodies up to this, bytes, are joined with the head as a string: node:http then does one write instead of three. */
const JOIN_MAX = 8 * 1024;

export class Exchange implements Reply {
  readonly #context: HttpContext;
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #headers: RequestHeaders;
  readonly #match: Match;
  readonly #pool: Pool;
  readonly #extra: readonly string[];
  readonly #forward: Forward;
  readonly #timeoutS: number | null;
  readonly #startedAt: number;
  #stopTimer: (() => void) | null = null;
  #head: ResponseHead | null = null;
  #eventStream = false;
  /** Bytes the handler promised, and has sent so far. */
  #promised: number | null = null;
  #written = 0;
  /** We frame chunks ourselves, so that length, payload and end are one string and one write. */
  #framing = false;
  /** Came since the last write. */
  #pieces: Uint8Array[] = [];
  #pieceBytes = 0;
  #charge = 0;
  #flushing = false;
  /** Given back when the socket has drained. */
  #owed = 0;
  #clientGone = false;
  #over = false;

  constructor(
    context: HttpContext,
    request: IncomingMessage,
    response: ServerResponse,
    headers: RequestHeaders,
    match: Match,
    pool: Pool,
    extra: readonly string[],
  ) {
    this.#context = context;
    this.#request = request;
    this.#response = response;
    this.#headers = headers;
    this.#match = match;
    this.#pool = pool;
    this.#extra = extra;
    this.#startedAt = context.now();
    this.#timeoutS =
      headers.timeoutS === null ? context.requestTimeoutS : headers.timeoutS === 0 ? null : headers.timeoutS;
    const deadline = this.#timeoutS === null ? null : this.#startedAt + this.#timeoutS * 1000;
    const method = request.method ?? "GET";
    const head: OpenHttp = {
      kind: "http",
      app: match.route.app,
      deployment: match.route.deployment,
      requestId: headers.requestId,
      deadlineMs: null,
      epoch: 0,
      hops: 1,
      model: headers.model,
      method,
      path: match.path,
      mount: match.mount,
      scheme: context.guard.scheme,
      headers: headers.forwarded,
      remote: remoteOf(request),
      upgrade: false,
    };
    this.#forward = new Forward(
      pool,
      { head, repeatable: repeatable(method, headers.idempotencyKey), deadline, ended: !headers.hasBody },
      this,
    );
  }

  start(): void {
    this.#response.on("close", () => this.#closed());
    if (this.#headers.hasBody) {
      this.#request.on("data", (data: Buffer) => {
        if (!this.#forward.write("bytes", data, false)) this.#request.pause();
      });
      this.#request.on("end", () => this.#forward.end());
    }
    if (this.#timeoutS !== null)
      this.#stopTimer = this.#context.after(this.#timeoutS * 1000, () => this.#forward.expire());
    this.#forward.start();
  }

  // --- from the replica ---

  onHead(head: ResponseHead): void {
    if (this.#head !== null) return;
    this.#head = head;
    this.#flushSoon();
  }

  onChunk(payload: Uint8Array, type: ChunkType, _more: boolean, charge: number): void {
    if (type === "value" || this.#head === null)
      return this.#broken("The replica sent a chunk that HTTP has no place for.");
    if (this.#clientGone || !this.#hasBody()) return this.#forward.consumed(charge);
    if (payload.byteLength > 0)
      this.#pieces.push(this.#response.writableNeedDrain && !fillsMessage(payload) ? new Uint8Array(payload) : payload);
    this.#pieceBytes += payload.byteLength;
    this.#charge += charge;
    this.#flushSoon();
  }

  onEnd(_end: EndHead): void {
    if (this.#head === null) return this.onFail({ code: "INTERNAL", message: "The replica ended without an answer." });
    if (this.#clientGone) return this.#finish(499);
    const { status } = this.#head;
    try {
      if (this.#response.headersSent) this.#endStream();
      else this.#whole();
    } catch {
      return this.#broken("The replica's header lines are not valid.");
    }
    this.#finish(status);
  }

  onFail(fail: FailHead): void {
    if (this.#clientGone) return this.#finish(499);
    const answer = this.#answerFor(fail);
    if (this.#response.headersSent) this.#breakOff(fail);
    else this.#answer(answer);
    this.#finish(answer.status);
  }

  onWritable(): void {
    this.#request.resume();
  }

  /** Not the response alone: one that waits for another on the same connection has no socket yet. */
  onCut(): void {
    this.#request.socket.destroy();
  }

  // --- to the client ---

  #answerFor(fail: FailHead): Answer {
    const { requestId } = this.#headers;
    const { backpressure, errorFormat } = this.#pool;
    return inFormat(errorFormat, failAnswer(fail, requestId, this.#timeoutS, backpressure), fail.code, requestId);
  }

  /** HEAD, 204 and 304 have none. */
  #hasBody(): boolean {
    const status = this.#head!.status;
    return this.#request.method !== "HEAD" && status !== 204 && status !== 304;
  }

  #flushSoon(): void {
    if (this.#flushing || this.#response.writableNeedDrain) return;
    this.#flushing = true;
    queueMicrotask(() => {
      this.#flushing = false;
      if (!this.#over && !this.#clientGone) this.#flush();
    });
  }

  /** Head, body and end in one write. */
  #whole(): void {
    const head = this.#head!;
    const { lines } = responseHeaders(head.headers, this.#headers.requestId);
    if (this.#hasBody()) lines.push("content-length", String(this.#pieceBytes));
    else this.#keepPromisedLength(lines);
    this.#writeHead(head.status, lines);
    if (this.#pieceBytes === 0) this.#response.end();
    else if (this.#pieceBytes <= JOIN_MAX) this.#response.end(this.#joined(), "latin1");
    else this.#response.end(Buffer.concat(this.#pieces));
    this.#pieces = [];
  }

  /** An answer without a body may still say how long it would be. */
  #keepPromisedLength(lines: string[]): void {
    const { contentLength } = responseHeaders(this.#head!.headers, "");
    if (this.#request.method === "HEAD" && contentLength !== null && !Number.isNaN(contentLength))
      lines.push("content-length", String(contentLength));
  }

  #writeHead(status: number, lines: string[]): void {
    if (this.#context.closing()) lines.push("connection", "close");
    this.#response.writeHead(status, this.#extra.length === 0 ? lines : [...lines, ...this.#extra]);
  }

  #streamHead(): void {
    const head = this.#head!;
    const { lines, contentLength, eventStream } = responseHeaders(head.headers, this.#headers.requestId);
    this.#eventStream = eventStream;
    if (!this.#hasBody()) this.#keepPromisedLength(lines);
    else if (contentLength !== null && !Number.isNaN(contentLength)) {
      this.#promised = contentLength;
      lines.push("content-length", String(contentLength));
    } else if (this.#request.httpVersion === "1.1") {
      this.#framing = true;
      lines.push("transfer-encoding", "chunked");
    }
    this.#writeHead(head.status, lines);
    if (this.#framing) this.#response.chunkedEncoding = false;
  }

  /** Writes what has come since the last write. */
  #flush(): void {
    try {
      if (!this.#response.headersSent) this.#streamHead();
    } catch {
      return this.#broken("The replica's header lines are not valid.");
    }
    if (!this.#hasBody()) {
      // An answer without a body is complete with its head, however much the handler has to say.
      this.#response.end();
      this.#forward.cancel("The answer has no body.");
      return this.#finish(this.#head!.status);
    }
    const charge = this.#charge;
    this.#charge = 0;
    if (this.#pieceBytes === 0) {
      this.#response.flushHeaders();
      this.#forward.consumed(charge);
      return;
    }
    this.#written += this.#pieceBytes;
    if (this.#promised !== null && this.#written > this.#promised)
      return this.#broken("The handler sent more than its content-length.");
    const taken = this.#writePieces();
    if (taken) return this.#forward.consumed(charge);
    this.#owed += charge;
    this.#response.once("drain", () => {
      const owed = this.#owed;
      this.#owed = 0;
      this.#forward.consumed(owed);
      if (this.#pieceBytes > 0) this.#flushSoon();
    });
  }

  #writePieces(): boolean {
    const response = this.#response;
    let taken: boolean;
    if (this.#pieceBytes <= JOIN_MAX) {
      const text = this.#joined();
      taken = response.write(this.#framing ? `${text.length.toString(16)}\r\n${text}\r\n` : text, "latin1");
    } else {
      // One system call for all. The socket may hold what it is given for long.
      const pieces = this.#pieces.every(fillsMessage) ? this.#pieces : [Buffer.concat(this.#pieces)];
      response.cork();
      if (this.#framing) response.write(`${this.#pieceBytes.toString(16)}\r\n`, "latin1");
      for (const piece of pieces) response.write(piece);
      if (this.#framing) response.write("\r\n", "latin1");
      response.uncork();
      taken = !response.writableNeedDrain;
    }
    this.#pieces = [];
    this.#pieceBytes = 0;
    return taken;
  }

  #joined(): string {
    if (this.#pieces.length === 1) return latin1(this.#pieces[0]!);
    let text = "";
    for (const piece of this.#pieces) text += latin1(piece);
    return text;
  }

  #endStream(): void {
    this.#written += this.#pieceBytes;
    if (this.#promised !== null && this.#written > this.#promised) return this.#breakOff(null);
    if (this.#framing && this.#pieceBytes > 0 && this.#pieceBytes <= JOIN_MAX) {
      const text = this.#joined();
      this.#response.end(`${text.length.toString(16)}\r\n${text}\r\n${LAST_CHUNK}`, "latin1");
      return;
    }
    if (this.#pieceBytes > 0) this.#writePieces();
    if (this.#promised !== null && this.#written < this.#promised) return this.#breakOff(null);
    if (this.#framing) this.#response.end(LAST_CHUNK, "latin1");
    else this.#response.end();
  }

  /** The head is out: the only way to say that something went wrong is to end without ending; a stream of events can say more. */
  #breakOff(fail: FailHead | null): void {
    if (this.#pieceBytes > 0 && fail !== null) this.#writePieces();
    if (fail !== null && this.#eventStream && this.#framing) {
      this.#pieces = [Buffer.from(lastEvent(this.#pool.errorFormat, this.#answerFor(fail), fail.code))];
      this.#pieceBytes = this.#pieces[0]!.byteLength;
      this.#writePieces();
    }
    const { socket } = this.#response;
    if (socket === null) this.#response.destroy();
    else socket.destroySoon();
  }

  #answer(answer: Answer): void {
    if (!this.#request.complete && this.#headers.hasBody) this.#response.shouldKeepAlive = false;
    const lines = answerLines(answer, this.#headers.requestId);
    lines.push("content-length", String(Buffer.byteLength(answer.body)));
    this.#writeHead(answer.status, lines);
    this.#response.end(answer.body);
  }

  /** The replica broke HTTP's rules. */
  #broken(reason: string): void {
    this.#forward.cancel(reason);
    if (this.#clientGone || this.#over) return;
    if (this.#response.headersSent) this.#breakOff(null);
    else this.#answer(inFormat(this.#pool.errorFormat, INTERNAL, "INTERNAL", this.#headers.requestId));
    this.#finish(500);
  }

  #closed(): void {
    // Whatever the socket still had is gone: sent, or dropped with it.
    this.#forward.taken();
    if (this.#over) return;
    this.#clientGone = true;
    this.#pieces = [];
    const unread = this.#charge + this.#owed;
    this.#charge = this.#owed = 0;
    if (this.#headers.ignoreDisconnect) return this.#forward.consumed(unread);
    this.#forward.cancel("The client left.");
    this.#finish(499);
  }

  #finish(status: number): void {
    if (this.#over) return;
    this.#over = true;
    this.#stopTimer?.();
    const { route } = this.#match;
    this.#context.finished({
      requestId: this.#headers.requestId,
      method: this.#request.method ?? "",
      route: route.name,
      app: route.app,
      deployment: route.deployment,
      status,
      ms: this.#context.now() - this.#startedAt,
      log: route.accessLog,
      isError: status >= 400,
    });
  }
}

const LAST_CHUNK = "0\r\n\r\n";
/** What waits for a slow client is copied: a view would keep its whole message, with other requests' pieces. But not where it is most of it. */
const fillsMessage = (piece: Uint8Array): boolean => piece.byteLength * 2 >= piece.buffer.byteLength;
/** Pieces are views of a message, which is a Buffer in Node. */
const latin1 = (bytes: Uint8Array): string =>
  (Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)).toString("latin1");
