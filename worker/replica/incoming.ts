/**
 * What arrives on a stream, as something to pull: HTTP bodies piece by piece, calls and gRPC message by message.
 * Credit goes back only when a piece is taken, so that a slow handler slows its sender.
 */
import { SkeinError } from "../../protocol/errors.ts";
import { GRPC_MESSAGE_MAX } from "../../protocol/limits.ts";
import type { ChunkType, Stream } from "../../protocol/stream.ts";
import type { BodySource } from "../../serve/request.ts";

interface Held {
  readonly payload: Uint8Array;
  readonly type: ChunkType;
  readonly charge: number;
}

/** A queue between a stream's events and one reader. Bounded by the stream's window. */
class Queue {
  readonly #stream: Stream;
  #held: Held[] = [];
  #ended: boolean;
  #last: SkeinError | undefined;
  #failure: SkeinError | undefined;
  #wake: (() => void) | undefined;

  constructor(stream: Stream, ended: boolean) {
    this.#stream = stream;
    this.#ended = ended;
  }

  push(held: Held): void {
    if (this.#failure !== undefined) this.#stream.consumed(held.charge);
    else {
      // A handler that doesn't read holds up its own sender, not the other requests of the link.
      this.#stream.parked(held.charge);
      this.#held.push(held);
    }
    this.#wake?.();
  }

  /** `error`: what came is read, then it is thrown. */
  end(error?: SkeinError): void {
    this.#ended = true;
    this.#last = error;
    this.#wake?.();
  }

  /** At once: what came is not read any more. */
  fail(error: SkeinError): void {
    this.#failure ??= error;
    this.#held = [];
    this.#wake?.();
  }

  async next(): Promise<Held | undefined> {
    for (;;) {
      if (this.#failure !== undefined) throw this.#failure;
      const held = this.#held.shift();
      if (held !== undefined) {
        this.#stream.consumed(held.charge);
        return held;
      }
      if (this.#last !== undefined) throw this.#last;
      if (this.#ended) return undefined;
      await new Promise<void>((resolve) => (this.#wake = resolve));
      this.#wake = undefined;
    }
  }
}

/** Pieces as they come: an HTTP body. */
export class IncomingBody implements BodySource {
  readonly #queue: Queue;
  constructor(stream: Stream, ended: boolean) {
    this.#queue = new Queue(stream, ended);
  }
  onChunk(payload: Uint8Array, type: ChunkType, charge: number): void {
    this.#queue.push({ payload, type, charge });
  }
  end(): void {
    this.#queue.end();
  }
  fail(error: SkeinError): void {
    this.#queue.fail(error);
  }
  async next(): Promise<Uint8Array | undefined> {
    return (await this.#queue.next())?.payload;
  }
}

export interface IncomingMessage {
  readonly bytes: Uint8Array;
  readonly type: ChunkType;
}

/** Whole messages: pieces joined up to the one without MORE. Throws `TOO_LARGE` into the stream's failure above GRPC_MESSAGE_MAX. */
export class IncomingMessages {
  readonly #stream: Stream;
  readonly #queue: Queue;
  #pieces: Uint8Array[] = [];
  #size = 0;

  constructor(stream: Stream, ended: boolean) {
    this.#stream = stream;
    this.#queue = new Queue(stream, ended);
  }

  onChunk(payload: Uint8Array, type: ChunkType, more: boolean, charge: number): void {
    this.#size += payload.byteLength;
    if (this.#size > GRPC_MESSAGE_MAX) {
      this.#stream.consumed(charge);
      this.#pieces = [];
      this.#queue.fail(new SkeinError("TOO_LARGE", `A message has more than ${GRPC_MESSAGE_MAX} bytes.`));
    } else if (more) {
      // A message may be larger than the window: its pieces are paid back as they come, the last one when the message is taken.
      this.#pieces.push(payload);
      this.#stream.consumed(charge);
    } else {
      const bytes = this.#pieces.length === 0 ? payload : joined([...this.#pieces, payload], this.#size);
      this.#pieces = [];
      this.#size = 0;
      this.#queue.push({ payload: bytes, type, charge });
    }
  }
  end(error?: SkeinError): void {
    this.#queue.end(error);
  }
  fail(error: SkeinError): void {
    this.#queue.fail(error);
  }
  async next(): Promise<IncomingMessage | undefined> {
    const held = await this.#queue.next();
    return held && { bytes: held.payload, type: held.type };
  }
}

function joined(pieces: readonly Uint8Array[], size: number): Uint8Array {
  const whole = new Uint8Array(size);
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.byteLength;
  }
  return whole;
}
