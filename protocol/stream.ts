/**
 * One request on a link: half-closed by `end` from its opener, closed by `end` from its acceptor, by `busy`, `fail` or `cancel`.
 * Holds both directions' windows. Knows no socket and no clock; the link (link.ts) feeds it and sends for it.
 */
import { SkeinError } from "./errors.ts";
import { FLAG, FRAME_HEADER, KIND, type Kind } from "./frame.ts";
import { encodeResponseHead, packHead, type EndHead, type FailHead, type ResponseHead } from "./heads.ts";
import { FRAME_PAYLOAD_MAX, STREAM_WINDOW } from "./limits.ts";

/** What kind of piece a chunk is. */
export type ChunkType = "bytes" | "text" | "value";
const TYPE_FLAG: Readonly<Record<ChunkType, number>> = { bytes: FLAG.bytes, text: FLAG.text, value: FLAG.value };
export const CHUNK_TYPES: readonly ChunkType[] = ["bytes", "text", "value"];

/** How a link was lost: `died`, its peer went without a word or was silent; `parted`, one of the two ended it, or this side was away. */
export type Loss = "died" | "parted";

/**
 * What a stream tells its owner. Payloads are views that are valid for good, but hold the whole message alive: copy small pieces you keep.
 * After onEnd (from the acceptor), onBusy, onFail or onCancel nothing more comes.
 */
export interface StreamEvents {
  onAccept?(load: number): void;
  onBusy?(load: number): void;
  onHead?(head: ResponseHead): void;
  /** `charge` must be given back by `stream.consumed(charge)` once the piece has left our memory. `more`: the piece goes on. */
  onChunk?(payload: Uint8Array, type: ChunkType, more: boolean, charge: number): void;
  onEnd?(end: EndHead, load: number): void;
  /** `lost`: how the link broke; null: the peer said so. */
  onFail?(fail: FailHead, lost: Loss | null): void;
  onCancel?(reason: string): void;
  /** Everything written so far has been sent; write on. */
  onWritable?(): void;
  /** The stream is over, whoever ended it, and holds nothing any more: what was written has been sent or dropped. */
  onClosed?(): void;
}

/** What a stream needs of its link. */
export interface StreamLink {
  emit(kind: Kind, flags: number, epoch: number, stream: number, value: number, payload?: Uint8Array): void;
  /** Sends a chunk if the link's window allows; false: queue and wait to be served. */
  takeWindow(bytes: number): boolean;
  block(stream: Stream): void;
  /** Bytes that the owner of a stream is done with, or that were dropped. */
  returned(bytes: number): void;
  forget(stream: Stream): void;
  load(): number;
}

interface Pending {
  readonly kind: Kind;
  readonly flags: number;
  readonly payload: Uint8Array | undefined;
}

const EMPTY = new Uint8Array(0);
const NONE: StreamEvents = Object.freeze({});
const encoder = new TextEncoder();

export class Stream {
  readonly id: number;
  readonly epoch: number;
  /** True when this side opened it. */
  readonly opener: boolean;
  events: StreamEvents;
  /** Over: nothing more is sent, no event follows. */
  closed = false;

  readonly #link: StreamLink;
  #localEnded = false;
  #remoteEnded = false;
  #pending: Pending[] = [];
  #sendWindow = STREAM_WINDOW;
  #sendSequence = 0;
  #receiveSequence = 0;
  /** Bytes the peer may still send. */
  #receiveWindow = STREAM_WINDOW;
  /** Received and not yet consumed; consumed and not yet granted. */
  #held = 0;
  #ungranted = 0;
  /** Of what was received and not yet consumed: given back to the link already. */
  #parked = 0;

  constructor(link: StreamLink, id: number, epoch: number, opener: boolean, events: StreamEvents) {
    this.#link = link;
    this.id = id;
    this.epoch = epoch;
    this.opener = opener;
    this.events = events;
  }

  /** True while nothing written waits for credit. */
  get writable(): boolean {
    return this.#pending.length === 0;
  }

  /** The other side has said all it will. */
  get remoteEnded(): boolean {
    return this.#remoteEnded;
  }

  /** Acceptor: this replica takes the request. */
  accept(): void {
    if (!this.closed) this.#link.emit(KIND.accept, 0, this.epoch, this.id, this.#link.load());
  }

  /** Acceptor: this replica is full; the stream is over, nothing was run. */
  busy(): void {
    if (this.closed) return;
    this.#link.emit(KIND.busy, 0, this.epoch, this.id, this.#link.load());
    this.#close();
  }

  head(head: ResponseHead): void {
    if (this.closed || this.#localEnded) return;
    this.#queueOrSend(KIND.head, 0, encodeResponseHead(head));
  }

  /**
   * Writes one piece. False: it (or part of it) waits for credit; wait for onWritable before writing more.
   * The bytes must not be changed afterwards. Throws `INTERNAL` when the caller goes on writing without waiting.
   */
  write(type: ChunkType, payload: Uint8Array, more = false): boolean {
    if (this.closed || this.#localEnded) return true;
    if (this.#pending.length > 2 * (STREAM_WINDOW / FRAME_PAYLOAD_MAX) + 64 && !more)
      throw new SkeinError("INTERNAL", "A stream was written to without waiting for onWritable.");
    const flag = TYPE_FLAG[type];
    let at = 0;
    do {
      const piece =
        payload.byteLength - at > FRAME_PAYLOAD_MAX
          ? payload.subarray(at, at + FRAME_PAYLOAD_MAX)
          : at === 0
            ? payload
            : payload.subarray(at);
      at += piece.byteLength;
      this.#queueOrSend(KIND.chunk, flag | (at < payload.byteLength || more ? FLAG.more : 0), piece);
    } while (at < payload.byteLength);
    return this.writable;
  }

  /** Writes text as UTF-8; see write. */
  writeText(text: string): boolean {
    return this.write("text", encoder.encode(text));
  }

  /** Nothing more from this side. From the acceptor it closes the stream: the rest of the request is not wanted. */
  end(end?: EndHead): void {
    if (this.closed || this.#localEnded) return;
    this.#queueOrSend(KIND.end, 0, end === undefined ? EMPTY : packHead("The end of a stream", end));
    this.#localEnded = true;
  }

  /** Ends the stream with an error, after what was written. */
  fail(fail: FailHead): void {
    if (this.closed || this.#localEnded) return;
    this.#queueOrSend(KIND.fail, 0, packHead("A failure", fail));
    this.#localEnded = true;
  }

  /** Ends the stream at once; what waits is dropped. No event follows. */
  cancel(reason: string): void {
    if (this.closed) return;
    this.#link.emit(KIND.cancel, 0, this.epoch, this.id, 0, encoder.encode(reason.slice(0, 200)));
    this.#close();
  }

  /**
   * The owner keeps `charge` bytes for somebody who may never take them: from now on they hold up this stream only, and no longer its
   * neighbours on the link. Without it 16 clients that stop reading would silence a replica for all others. They are `consumed` later all the same.
   */
  parked(charge: number): void {
    if (this.closed) return;
    this.#held -= charge;
    this.#parked += charge;
    this.#link.returned(charge);
  }

  /**
   * The owner is done with `charge` bytes: the peer may send as many again, granted in halves of the window. With a smaller `window` (of one
   * chunk with its header at least) the rest is kept back until a call with a larger one.
   */
  consumed(charge: number, window = STREAM_WINDOW): void {
    if (this.closed || charge === 0) return;
    const unparked = Math.max(0, charge - this.#parked);
    this.#parked -= charge - unparked;
    this.#held -= unparked;
    if (unparked > 0) this.#link.returned(unparked);
    if (this.#remoteEnded) return;
    this.#ungranted += charge;
    const grant = this.#ungranted - (STREAM_WINDOW - window);
    // A small window is granted whole, else no chunk might fit what is left of it.
    if (grant >= Math.max(1, window - STREAM_WINDOW / 2)) {
      this.#link.emit(KIND.credit, 0, this.epoch, this.id, grant);
      this.#receiveWindow += grant;
      this.#ungranted -= grant;
    }
  }

  // --- called by the link ---

  /** A frame for this stream. Throws `PROTOCOL` when it breaks the rules. */
  receive(kind: Kind, flags: number, value: number, payload: Uint8Array, decode: StreamDecoders): void {
    switch (kind) {
      case KIND.chunk: {
        if (this.#remoteEnded) throw new SkeinError("PROTOCOL", "A chunk came after end.");
        const charge = payload.byteLength + FRAME_HEADER;
        if (value !== this.#receiveSequence)
          throw new SkeinError("PROTOCOL", `Chunk ${value} came where ${this.#receiveSequence} was due.`);
        this.#receiveSequence = (this.#receiveSequence + 1) >>> 0;
        if (charge > this.#receiveWindow) throw new SkeinError("PROTOCOL", "A stream's window was overrun.");
        this.#receiveWindow -= charge;
        this.#held += charge;
        const type = CHUNK_TYPES[flags & FLAG.payload];
        if (type === undefined) throw new SkeinError("PROTOCOL", "A chunk has no known payload type.");
        if (this.events.onChunk === undefined) this.consumed(charge);
        else this.events.onChunk(payload, type, (flags & FLAG.more) !== 0, charge);
        return;
      }
      case KIND.accept:
        this.#fromAcceptor("accept");
        this.events.onAccept?.(value);
        return;
      case KIND.busy:
        this.#fromAcceptor("busy");
        this.#close().onBusy?.(value);
        return;
      case KIND.head:
        this.#fromAcceptor("head");
        this.events.onHead?.(decode.head(payload));
        return;
      case KIND.end: {
        if (this.#remoteEnded) throw new SkeinError("PROTOCOL", "A second end.");
        const end = decode.end(payload);
        this.#remoteEnded = true;
        const { events } = this;
        if (this.opener) this.#close();
        events.onEnd?.(end, value);
        return;
      }
      case KIND.fail: {
        const fail = decode.fail(payload);
        this.#close().onFail?.(fail, null);
        return;
      }
      case KIND.cancel:
        this.#close().onCancel?.(decode.text(payload));
        return;
      case KIND.credit:
        this.#sendWindow += value;
        if (value === 0 || this.#sendWindow > STREAM_WINDOW)
          throw new SkeinError("PROTOCOL", "More credit than a window.");
        this.serve();
        return;
      default:
        throw new SkeinError("PROTOCOL", `Frame kind ${kind} is not for a stream.`);
    }
  }

  /** The open frame said that no body follows. */
  markEnded(): void {
    this.#remoteEnded = true;
  }

  /** Sends one waiting frame. True when another one waits that only the link's window holds back. */
  serveOne(): boolean {
    const next = this.#pending[0];
    if (next === undefined || !this.#send(next.kind, next.flags, next.payload)) return false;
    this.#pending.shift();
    if (this.closed) return false;
    if (this.#pending.length > 0) return true;
    this.events.onWritable?.();
    return false;
  }

  /** Sends what waits, as far as credit goes. */
  serve(): void {
    while (this.serveOne());
  }

  /** The link is gone. */
  lose(fail: FailHead, how: Loss): void {
    if (!this.closed) this.#close().onFail?.(fail, how);
  }

  #fromAcceptor(what: string): void {
    if (!this.opener) throw new SkeinError("PROTOCOL", `${what} came from the side that opened the stream.`);
  }

  #queueOrSend(kind: Kind, flags: number, payload: Uint8Array | undefined): void {
    if (this.#pending.length > 0 || !this.#send(kind, flags, payload)) this.#pending.push({ kind, flags, payload });
  }

  /** False: no credit. Only chunks need any. */
  #send(kind: Kind, flags: number, payload: Uint8Array | undefined): boolean {
    let value = 0;
    if (kind === KIND.chunk) {
      const charge = (payload?.byteLength ?? 0) + FRAME_HEADER;
      if (charge > this.#sendWindow) return false;
      if (!this.#link.takeWindow(charge)) {
        this.#link.block(this);
        return false;
      }
      this.#sendWindow -= charge;
      value = this.#sendSequence;
      this.#sendSequence = (this.#sendSequence + 1) >>> 0;
    } else if (kind === KIND.end) value = this.#link.load();
    this.#link.emit(kind, flags, this.epoch, this.id, value, payload);
    if (kind === KIND.fail || (kind === KIND.end && !this.opener)) this.#close();
    return true;
  }

  /**
   * Gives back whom to tell. The stream itself forgets it: a closed stream may live on for a while (tables that a Map has outgrown hold
   * what was in them, and once such a table is old, so is all that it reaches), and must not keep a whole request alive.
   */
  #close(): StreamEvents {
    const { events } = this;
    if (this.closed) return events;
    this.closed = true;
    this.events = NONE;
    this.#pending = [];
    this.#link.returned(this.#held);
    this.#held = 0;
    this.#link.forget(this);
    events.onClosed?.();
    return events;
  }
}

/** Decoders of what frames carry, given by the link so that this file needs no msgpack at run time for chunks. */
export interface StreamDecoders {
  head(bytes: Uint8Array): ResponseHead;
  end(bytes: Uint8Array): EndHead;
  fail(bytes: Uint8Array): FailHead;
  text(bytes: Uint8Array): string;
}
