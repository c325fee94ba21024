/**
 * One gRPC call that a deployment answers: the wire on one side, a Forward on the other. Message bytes pass as they are.
 * The client's flow control holds the replica back: no credit for bytes that the HTTP/2 stream has not taken.
 */
import { OUTSIDE } from "../../protocol/errors.ts";
import { GRPC_STATUS, grpcStatusName } from "../../protocol/grpc.ts";
import type { EndHead, FailHead, FlatHeaders, OpenGrpc } from "../../protocol/heads.ts";
import { GRPC_MESSAGE_MAX } from "../../protocol/limits.ts";
import type { ChunkType } from "../../protocol/stream.ts";
import { Forward, type Reply } from "../forward.ts";
import type { Pool } from "../pool.ts";
import type { GrpcContext } from "./context.ts";
import type { CallHead } from "./metadata.ts";
import type { Wire, WireEvents } from "./wire.ts";

export interface CallTarget {
  readonly app: string;
  readonly deployment: string;
  readonly accessLog: boolean;
  readonly pool: Pool;
}

export class GrpcExchange implements Reply, WireEvents {
  readonly #context: GrpcContext;
  readonly #wire: Wire;
  readonly #head: CallHead;
  readonly #target: CallTarget;
  readonly #forward: Forward;
  readonly #startedAt: number;
  /** ms; null: for ever. */
  readonly #timeoutMs: number | null;
  #stopTimer: (() => void) | null = null;
  /** The message that is being put together. */
  #pieces: Uint8Array[] = [];
  #size = 0;
  /** Given back when the stream has drained, and what of it was granted before: a message larger than the window. */
  #owed = 0;
  #granted = 0;
  #over = false;

  constructor(context: GrpcContext, wire: Wire, head: CallHead, target: CallTarget) {
    this.#context = context;
    this.#wire = wire;
    this.#head = head;
    this.#target = target;
    this.#startedAt = context.now();
    const own = context.requestTimeoutS === null ? null : context.requestTimeoutS * 1000;
    this.#timeoutMs = own === null ? head.timeoutMs : head.timeoutMs === null ? own : Math.min(own, head.timeoutMs);
    const open: OpenGrpc = {
      kind: "grpc",
      app: target.app,
      deployment: target.deployment,
      requestId: head.requestId,
      deadlineMs: null,
      epoch: 0,
      hops: 1,
      model: head.model,
      path: head.path,
      metadata: head.metadata,
    };
    const deadline = this.#timeoutMs === null ? null : this.#startedAt + this.#timeoutMs;
    this.#forward = new Forward(target.pool, { head: open, repeatable: false, deadline, ended: false }, this);
  }

  start(): void {
    if (this.#timeoutMs !== null) this.#stopTimer = this.#context.after(this.#timeoutMs, () => this.#forward.expire());
    this.#forward.start();
    if (!this.#over) this.#wire.start(this);
  }

  // --- from the replica ---

  onHead(): void {
    this.#wire.begin();
  }

  onChunk(payload: Uint8Array, type: ChunkType, more: boolean, charge: number): void {
    this.#size += payload.byteLength;
    if (type !== "bytes" || this.#size > GRPC_MESSAGE_MAX) {
      this.#forward.cancel("The message can't be passed on.");
      const tooLarge = type === "bytes";
      return this.#finish(
        tooLarge ? GRPC_STATUS.RESOURCE_EXHAUSTED : GRPC_STATUS.INTERNAL,
        tooLarge ? `The answer is larger than max (${GRPC_MESSAGE_MAX}).` : "The replica sent what is no message.",
        [],
      );
    }
    this.#pieces.push(payload);
    // A message may be larger than the window: its pieces are paid back as they come, the last one when the message has been taken.
    if (more) {
      this.#granted += charge;
      return this.#forward.granted(charge);
    }
    const taken = this.#wire.send(this.#pieces, this.#size);
    this.#pieces = [];
    this.#size = 0;
    this.#owed += charge;
    if (taken) this.onDrain();
  }

  onEnd(end: EndHead): void {
    this.#finish(end.status?.code ?? GRPC_STATUS.OK, end.status?.message ?? "", end.trailers ?? []);
  }

  onFail(fail: FailHead): void {
    const timedOut = fail.code === "TIMEOUT" && this.#timeoutMs !== null;
    const details = timedOut
      ? `Request timed out after ${this.#timeoutMs! / 1000}s.`
      : (fail.status?.message ?? fail.message);
    this.#finish(fail.status?.code ?? OUTSIDE[fail.code].grpc, details, fail.trailers ?? []);
  }

  onWritable(): void {
    this.#wire.resume();
  }

  onCut(reason: string): void {
    this.#forward.cancel(reason);
    this.#wire.cut();
    this.#told(GRPC_STATUS.RESOURCE_EXHAUSTED);
  }

  // --- from the client ---

  onPiece(piece: Uint8Array, more: boolean): boolean {
    return this.#forward.write("bytes", piece, more);
  }
  /** Of the client's messages. */
  onClientEnd(): void {
    this.#forward.end();
  }
  onGone(): void {
    this.#forward.cancel("The client left.");
    this.#told(GRPC_STATUS.CANCELLED);
  }
  onDrain(): void {
    const owed = this.#owed;
    this.#owed = 0;
    if (owed > 0) this.#forward.consumed(owed);
    // Only what has been sent: pieces of an unfinished message are still held.
    if (this.#pieces.length > 0 || this.#granted === 0) return;
    this.#forward.taken(this.#granted);
    this.#granted = 0;
  }
  onClosed(): void {
    this.#forward.taken();
  }
  onBroken(code: number): void {
    this.#forward.cancel("The client's request is malformed.");
    this.#told(code);
  }

  #finish(code: number, details: string, trailers: FlatHeaders): void {
    if (this.#over) return;
    this.#wire.finish(code, details, [...trailers, "request_id", this.#head.requestId]);
    this.#told(code);
  }

  #told(code: number): void {
    if (this.#over) return;
    this.#over = true;
    this.#stopTimer?.();
    const { app, deployment, accessLog } = this.#target;
    this.#context.finished({
      requestId: this.#head.requestId,
      method: this.#head.path,
      route: app,
      app,
      deployment,
      status: `StatusCode.${grpcStatusName(code)}`,
      ms: this.#context.now() - this.#startedAt,
      log: accessLog,
      isError: code !== GRPC_STATUS.OK,
    });
  }
}
