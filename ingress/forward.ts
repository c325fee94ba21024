/**
 * One request's life at an ingress: waits for a replica, is sent, perhaps sent again elsewhere, answered, cancelled or out of time.
 *
 *   waiting -> sent (epoch n) -> done
 *      ^---------'  busy, lost and repeatable
 *
 * Knows streams and pools, no sockets and no timers: whoever asked (HTTP, gRPC, another replica) implements `Reply` and calls `expire`
 * when the deadline has passed. Frames of an earlier epoch are dropped.
 */
import { SkeinError } from "../protocol/errors.ts";
import type { EndHead, FailHead, OpenHead, ResponseHead } from "../protocol/heads.ts";
import { REPLAY_BODY_MAX, STREAM_WINDOW } from "../protocol/limits.ts";
import type { ChunkType, Loss, Stream, StreamEvents } from "../protocol/stream.ts";
import type { Reader } from "./backlog.ts";
import type { Peer } from "./peer.ts";
import type { Pool, Waiter } from "./pool.ts";
import { mayRetry } from "./retry.ts";

/** Who gets the answer. After onEnd or onFail nothing more comes; after `cancel` nothing at all. */
export interface Reply {
  /** A replica has taken the request. */
  onAccept?(): void;
  onHead(head: ResponseHead): void;
  /** `charge` must be given back by `forward.consumed(charge)` when the piece has left our memory. */
  onChunk(payload: Uint8Array, type: ChunkType, more: boolean, charge: number): void;
  onEnd(end: EndHead): void;
  onFail(fail: FailHead): void;
  /** The body may go on. */
  onWritable(): void;
  /** Too much is held for too many, and this reader has taken nothing for longest: drop the client, and what is held for it, now. */
  onCut(reason: string): void;
}

export interface ForwardRequest {
  /** What to open, with epoch 0; epoch and remaining time are filled in for every attempt. */
  readonly head: OpenHead;
  /** It may run twice by what the client said (retry.ts); the deployment may allow it too. */
  readonly repeatable: boolean;
  /** When it is too late, on the pool's clock, ms; null for never. */
  readonly deadline: number | null;
  /** No body follows. */
  readonly ended: boolean;
}

interface Piece {
  readonly type: ChunkType;
  readonly payload: Uint8Array;
  readonly more: boolean;
}

let arrivals = 0;
const CUT = "The reader stood still while others waited: what is held for slow readers has reached its bound.";

export class Forward implements Waiter, Reader {
  readonly arrival = ++arrivals;
  readonly model: string;
  tried: Set<Peer> | null = null;
  /** Over: answered, failed, cancelled or out of time. */
  done = false;
  backlog = 0;
  late = false;

  readonly #pool: Pool;
  readonly #request: ForwardRequest;
  readonly #reply: Reply;
  #attempt: Attempt | null = null;
  #epoch = -1;
  #deaths = 0;
  #losses = 0;
  #produced = false;
  #accepted = false;
  /** Body pieces: those sent come first and are kept while they may be needed again. */
  #held: Piece[] = [];
  #heldBytes = 0;
  #sent = 0;
  /** The start of the body is no longer in hand. */
  #dropped = false;
  #end: EndHead | true | null;

  constructor(pool: Pool, request: ForwardRequest, reply: Reply) {
    this.#pool = pool;
    this.#request = request;
    this.#reply = reply;
    this.model = request.head.model;
    this.#end = request.ended ? true : null;
  }

  start(): void {
    this.#pool.admit(this);
  }

  /** One piece of the body. False: wait for onWritable before writing more. */
  write(type: ChunkType, payload: Uint8Array, more: boolean): boolean {
    if (this.done || this.#end !== null) return true;
    this.#held.push({ type, payload, more });
    this.#heldBytes += payload.byteLength;
    return this.#attempt === null ? this.#heldBytes < STREAM_WINDOW : this.#feed(this.#attempt.stream);
  }

  /** The body is complete. */
  end(end?: EndHead): void {
    if (this.done || this.#end !== null) return;
    this.#end = end ?? true;
    if (this.#attempt !== null) this.#feed(this.#attempt.stream);
  }

  /** The receiver of the answer is done with `charge` bytes. */
  consumed(charge: number): void {
    this.#pool.context.backlog.taken(this, charge);
    this.granted(charge);
  }

  /** As `consumed`, of bytes that are still held: the rest of a message is needed. They are `taken` later. */
  granted(charge: number): void {
    this.#attempt?.stream.consumed(charge, this.#pool.context.backlog.window);
  }

  /** Bytes have left our memory: those that were `granted`, or all that is left once nobody can take it any more. */
  taken(bytes = this.backlog): void {
    this.#pool.context.backlog.taken(this, bytes);
  }

  cut(): void {
    this.#reply.onCut(CUT);
  }

  /** Whoever asked is gone. No event follows. */
  cancel(reason: string): void {
    if (this.done) return;
    this.done = true;
    this.#abandon(reason);
  }

  /** The deadline has passed. */
  expire(): void {
    if (this.done) return;
    this.cancel("The deadline has passed.");
    this.#reply.onFail({ code: "TIMEOUT", message: "The request timed out." });
  }

  // --- called by the pool ---

  assign(peer: Peer): void {
    const now = this.#pool.context.now();
    const { deadline, head } = this.#request;
    const remaining = deadline === null ? null : deadline - now;
    if (remaining !== null && remaining <= 0) return this.expire();
    this.#epoch += 1;
    const attempt = new Attempt(this, peer, now);
    const open =
      this.#epoch === 0 && remaining === null ? head : { ...head, epoch: this.#epoch, deadlineMs: remaining };
    const whole = this.#end === true && this.#held.length === 0;
    try {
      attempt.stream = peer.link!.open(open, attempt, whole);
    } catch (thrown) {
      return this.#notOpened(peer, SkeinError.from(thrown));
    }
    attempt.endSent = whole;
    this.#attempt = attempt;
    this.#accepted = false;
    this.#sent = 0;
    this.#pool.taken(peer);
    peer.askedFor(this.model);
    if (!whole && this.#feed(attempt.stream) && this.#end === null) this.#reply.onWritable();
  }

  reject(fail: FailHead): void {
    if (this.done) return;
    this.done = true;
    this.#reply.onFail(fail);
  }

  // --- called by the attempt that is current ---

  isCurrent(attempt: Attempt): boolean {
    return this.#attempt === attempt;
  }

  accepted(attempt: Attempt, load: number): void {
    attempt.peer.report(load, this.#pool.context.now());
    this.#accepted = true;
    this.#trim();
    this.#reply.onAccept?.();
    // The load that came with it may show room that no completion here would have told of.
    this.#pool.pump();
  }

  busy(attempt: Attempt, load: number): void {
    this.#close(attempt);
    attempt.peer.refused(load, this.#pool.context.now());
    this.#again(attempt.peer);
  }

  head(attempt: Attempt, head: ResponseHead): void {
    this.#output(attempt);
    this.#reply.onHead(head);
  }

  chunk(attempt: Attempt, payload: Uint8Array, type: ChunkType, more: boolean, charge: number): void {
    this.#output(attempt);
    // Whoever asked may be slow, or never read at all: that is between it and its own stream.
    attempt.stream.parked(charge);
    this.#pool.context.backlog.hold(this, charge);
    this.#reply.onChunk(payload, type, more, charge);
  }

  ended(attempt: Attempt, end: EndHead, load: number): void {
    this.#output(attempt);
    this.done = true;
    // Before the count goes down: whether the replica counted this one is not known, and too few is harmless (it may answer busy).
    attempt.peer.report(load, this.#pool.context.now());
    this.#close(attempt);
    this.#reply.onEnd(end);
  }

  failed(attempt: Attempt, fail: FailHead, lost: Loss | null): void {
    if (lost === null && !this.#accepted && !this.#produced && fail.code === "UNAVAILABLE")
      return this.busy(attempt, attempt.peer.inFlight);
    if (lost !== null) {
      this.#losses += 1;
      if (lost === "died") this.#deaths += 1;
      const { context, budget } = this.#pool;
      const repeatable = this.#request.repeatable || this.#pool.repeatsAnything;
      if (
        mayRetry({
          repeatable,
          produced: this.#produced,
          bodyHeld: !this.#dropped,
          deaths: this.#deaths,
          losses: this.#losses,
        }) &&
        // Where no replica is in trouble there is no outage that retries could make worse.
        (lost === "parted" || budget.take(context.now(), this.#pool.ongoing))
      ) {
        this.#close(attempt);
        return this.#again(attempt.peer);
      }
    }
    this.done = true;
    this.#close(attempt);
    this.#reply.onFail(fail);
  }

  writable(attempt: Attempt): void {
    if (this.#feed(attempt.stream) && this.#end === null) this.#reply.onWritable();
  }

  // --- body ---

  /** Sends what is held, as far as the stream takes it. True: more may be written. */
  #feed(stream: Stream): boolean {
    while (this.#sent < this.#held.length && stream.writable) {
      const piece = this.#held[this.#sent++]!;
      stream.write(piece.type, piece.payload, piece.more);
    }
    const allSent = this.#sent === this.#held.length;
    this.#trim();
    if (allSent && this.#end !== null && this.#attempt!.endSent === false) {
      this.#attempt!.endSent = true;
      stream.end(this.#end === true ? undefined : this.#end);
    }
    return allSent && stream.writable;
  }

  /** Lets go of sent pieces that no retry can need. */
  #trim(): void {
    if (this.#sent === 0 || !this.#accepted) return;
    const mayRepeat = (this.#request.repeatable || this.#pool.repeatsAnything) && !this.#produced && !this.#dropped;
    if (mayRepeat && this.#heldBytes <= REPLAY_BODY_MAX) return;
    this.#dropped = true;
    for (let i = 0; i < this.#sent; i++) this.#heldBytes -= this.#held[i]!.payload.byteLength;
    this.#held.splice(0, this.#sent);
    this.#sent = 0;
  }

  // --- ends of attempts ---

  #output(attempt: Attempt): void {
    if (this.#produced) return;
    this.#produced = true;
    this.#accepted = true;
    const now = this.#pool.context.now();
    attempt.peer.measured(now - attempt.openedAt, now);
    this.#trim();
  }

  #notOpened(peer: Peer, error: SkeinError): void {
    if (error.code !== "UNAVAILABLE") return this.reject({ code: error.code, message: error.message });
    peer.refused(peer.outstanding, this.#pool.context.now());
    this.#again(peer);
  }

  #again(peer: Peer): void {
    this.tried ??= new Set();
    this.tried.add(peer);
    this.#pool.again(this);
  }

  #close(attempt: Attempt): void {
    this.#attempt = null;
    this.#pool.released(attempt.peer);
  }

  #abandon(reason: string): void {
    const attempt = this.#attempt;
    this.#held = [];
    if (attempt === null) return this.#pool.leave(this);
    attempt.stream.cancel(reason);
    this.#close(attempt);
  }
}

/** One opening of the stream on one replica. Events of an attempt that is no longer current are dropped. */
class Attempt implements StreamEvents {
  readonly peer: Peer;
  readonly openedAt: number;
  stream!: Stream;
  endSent = false;
  readonly #forward: Forward;

  constructor(forward: Forward, peer: Peer, openedAt: number) {
    this.#forward = forward;
    this.peer = peer;
    this.openedAt = openedAt;
  }

  onAccept(load: number): void {
    if (this.#forward.isCurrent(this)) this.#forward.accepted(this, load);
  }
  onBusy(load: number): void {
    if (this.#forward.isCurrent(this)) this.#forward.busy(this, load);
  }
  onHead(head: ResponseHead): void {
    if (this.#forward.isCurrent(this)) this.#forward.head(this, head);
  }
  onChunk(payload: Uint8Array, type: ChunkType, more: boolean, charge: number): void {
    if (this.#forward.isCurrent(this)) this.#forward.chunk(this, payload, type, more, charge);
    else this.stream.consumed(charge);
  }
  onEnd(end: EndHead, load: number): void {
    if (this.#forward.isCurrent(this)) this.#forward.ended(this, end, load);
  }
  onFail(fail: FailHead, lost: Loss | null): void {
    if (this.#forward.isCurrent(this)) this.#forward.failed(this, fail, lost);
  }
  onCancel(reason: string): void {
    this.onFail({ code: "CANCELLED", message: reason }, null);
  }
  onWritable(): void {
    if (this.#forward.isCurrent(this)) this.#forward.writable(this);
  }
}
