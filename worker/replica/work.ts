/**
 * One request in hand, from its open frame to the last word of user code. Knows how it is called off and how it fails;
 * http.ts, call.ts, websocket.ts and grpc.ts know what it says.
 */
import { SkeinError } from "../../protocol/errors.ts";
import type { FailHead, OpenHead } from "../../protocol/heads.ts";
import type { Stream } from "../../protocol/stream.ts";
import { callerError, isPassed } from "../../serve/caller-error.ts";
import type { RequestContext } from "../../serve/context.ts";
import { runWithContext } from "../../serve/context.ts";
import type { Instance } from "../../serve/instance.ts";
import { Outgoing } from "./outgoing.ts";

export interface WorkOwner {
  /** The request was called off: its place is free, though user code may still be running. */
  onCancelled(work: Work): void;
  /** User code is done with it. */
  onDone(work: Work): void;
  log(level: "info" | "warn" | "error", text: string): void;
}

export class Work {
  readonly stream: Stream;
  readonly head: OpenHead;
  readonly context: RequestContext;
  readonly instance: Instance;
  readonly out: Outgoing;
  readonly #owner: WorkOwner;
  /** Ends what produces output; set while a generator runs. */
  #producer: { return?(value?: unknown): unknown } | undefined;

  constructor(owner: WorkOwner, stream: Stream, head: OpenHead, context: RequestContext, instance: Instance) {
    this.#owner = owner;
    this.stream = stream;
    this.head = head;
    this.context = context;
    this.instance = instance;
    this.out = new Outgoing(stream);
  }

  /** Runs `body` with the request's context. What it throws fails the stream; it is over when its promise settles. */
  run(body: () => void | Promise<void>): void {
    let running: void | Promise<void>;
    try {
      running = runWithContext(this.context, body);
    } catch (error) {
      this.fail(error);
      this.#owner.onDone(this);
      return;
    }
    if (running === undefined) this.#owner.onDone(this);
    else void running.catch((error: unknown) => this.fail(error)).finally(() => this.#owner.onDone(this));
  }

  /** Called off from outside: the signal first, then the generator's return(), which alone can't interrupt a pending await. */
  cancel(code: "CANCELLED" | "TIMEOUT" | "REPLICA_DIED", reason: string): void {
    if (this.context.cancelled !== undefined) return;
    this.context.cancel(new SkeinError(code, reason));
    this.out.resume();
    // A generator that is between two pieces ends now, one inside an await when that settles.
    Promise.resolve(this.#producer?.return?.(undefined)).catch(() => {});
    this.#owner.onCancelled(this);
  }

  /** Tells the caller why it failed, once; user code's own errors go to the log with their stack. `more`: what gRPC says beside. */
  fail(error: unknown, more: Pick<FailHead, "status" | "trailers"> = {}): void {
    if (this.context.cancelled !== undefined && this.stream.closed) return;
    if (!isPassed(error))
      this.#owner.log(
        "error",
        `Request ${this.head.requestId} failed: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
      );
    const { code, message } = callerError(error);
    this.stream.fail({ code, message, ...more });
  }

  /**
   * Takes every element of `pieces` and hands it to `write`, waiting where that does. Ends the producer when the request is called off
   * or writing fails; resolves false then.
   */
  async produce(
    pieces: AsyncIterator<unknown> | Iterator<unknown>,
    write: (piece: unknown) => Promise<void> | undefined,
  ): Promise<boolean> {
    this.#producer = pieces;
    try {
      for (;;) {
        if (this.context.cancelled !== undefined) {
          await pieces.return?.();
          return false;
        }
        const result = await pieces.next();
        if (result.done === true) return this.context.cancelled === undefined;
        if (this.context.cancelled !== undefined) continue;
        try {
          const waiting = write(result.value);
          if (waiting !== undefined) await waiting;
        } catch (error) {
          await pieces.return?.();
          if (this.context.cancelled !== undefined || this.stream.closed) return false;
          throw error;
        }
      }
    } finally {
      this.#producer = undefined;
    }
  }
}
