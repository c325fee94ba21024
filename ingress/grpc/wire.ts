/**
 * One gRPC call on an HTTP/2 stream: pieces of messages in, messages and a status out. Knows gRPC over HTTP/2, nothing of who answers.
 * node:http2 rather than @grpc/grpc-js: a call is passed on piece by piece under flow control (grpc-js buffers 16 whole messages), and any
 * path can be answered without being registered first.
 */
import type { ServerHttp2Stream } from "node:http2";
import { GRPC_STATUS } from "../../protocol/grpc.ts";
import type { FlatHeaders } from "../../protocol/heads.ts";
import { GRPC_MESSAGE_MAX } from "../../protocol/limits.ts";
import { framed, MessageReader } from "./framing.ts";
import { metadataLines, statusLines } from "./metadata.ts";

const NO_ERROR = 0;
/** Of RFC 9113: the peer makes too much load. */
const ENHANCE_YOUR_CALM = 11;
const UNREAD_MAX = 1024 * 1024;
const CONTENT = { ":status": 200, "content-type": "application/grpc" } as const;

/** What the client does. After `onGone` only `onClosed` comes, as after `finish`. */
export interface WireEvents {
  /** False: pause until `resume`. */
  onPiece(piece: Uint8Array, more: boolean): boolean;
  /** The client has sent all it will. */
  onClientEnd(): void;
  /** The client called it off, or its connection broke. */
  onGone(): void;
  /** What was written has been taken. */
  onDrain(): void;
  /** The client broke the rules: the call has been answered with this status. */
  onBroken(code: number): void;
  /** Nothing is held for the client any more. */
  onClosed?(): void;
}

export class Wire {
  readonly #stream: ServerHttp2Stream;
  readonly #reader = new MessageReader();
  #trailers: Record<string, string | string[]> = {};
  #over = false;
  /** Bytes that came after the status was sent. */
  #unread = 0;

  constructor(stream: ServerHttp2Stream) {
    this.#stream = stream;
  }

  start(events: WireEvents): void {
    const stream = this.#stream;
    const broken = (code: number, details: string, more: FlatHeaders = []): void => {
      this.finish(code, details, more);
      events.onBroken(code);
    };
    stream.on("error", () => {});
    stream.on("data", (data: Buffer) => {
      if (this.#over) return this.#unwanted(data.byteLength);
      let taken = true;
      const error = this.#reader.push(data, (piece, more) => {
        if (!this.#over && !events.onPiece(piece, more)) taken = false;
      });
      if (this.#over) return;
      if (error === "compressed")
        return broken(GRPC_STATUS.UNIMPLEMENTED, "Compressed messages are not supported.", [
          "accept-encoding",
          "identity",
        ]);
      if (error === "tooLarge")
        return broken(GRPC_STATUS.RESOURCE_EXHAUSTED, `Received message larger than max (${GRPC_MESSAGE_MAX}).`);
      if (!taken) stream.pause();
    });
    stream.on("end", () => {
      if (this.#over) return;
      if (!this.#reader.between) return broken(GRPC_STATUS.INTERNAL, "The request ended in the middle of a message.");
      events.onClientEnd();
    });
    stream.on("drain", () => events.onDrain());
    stream.on("close", () => {
      events.onClosed?.();
      if (this.#over) return;
      this.#over = true;
      events.onGone();
    });
    stream.on("wantTrailers", () => {
      if (!stream.destroyed && !stream.closed) stream.sendTrailers(this.#trailers);
    });
  }

  resume(): void {
    this.#stream.resume();
  }

  /** Sends the headers now instead of with the first message. */
  begin(): void {
    if (!this.#over && !this.#stream.headersSent && !this.#stream.destroyed)
      this.#stream.respond(CONTENT, { waitForTrailers: true });
  }

  /** One message. False: wait for onDrain. */
  send(pieces: readonly Uint8Array[], size: number): boolean {
    if (this.#over || this.#stream.destroyed) return true;
    this.begin();
    return this.#stream.write(framed(pieces, size));
  }

  /** Ends the stream without what was written, and without a status: that would wait behind it. */
  cut(): void {
    this.#over = true;
    this.#stream.close(ENHANCE_YOUR_CALM);
  }

  /** The status, behind what was written. What the client still sends is not read. */
  finish(code: number, details: string, trailers: FlatHeaders): void {
    if (this.#over) return;
    this.#over = true;
    const stream = this.#stream;
    if (stream.destroyed || stream.closed) return;
    const lines = { ...metadataLines(trailers), ...statusLines(code, details) };
    try {
      if (stream.headersSent) {
        this.#trailers = lines;
        stream.end();
      } else {
        stream.respond({ ...CONTENT, ...lines }, { endStream: true });
      }
    } catch {
      // Trailing metadata that HTTP/2 can't carry: the client sees a broken stream, which is a status of its own.
      stream.close(NO_ERROR);
    }
    stream.resume();
  }

  /** Closing at once would overtake the status: the client may send this much more, then it is told to stop. */
  #unwanted(bytes: number): void {
    this.#unread += bytes;
    if (this.#unread > UNREAD_MAX && !this.#stream.closed) this.#stream.close(NO_ERROR);
  }
}
