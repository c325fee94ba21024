/**
 * Calls of one deployment to another: a stream that a replica opens is checked against its ticket and piped to a replica of the callee,
 * both ways with credit; cancellation and deadline go through.
 */
import type { EndHead, FailHead, OpenHead, ResponseHead } from "../protocol/heads.ts";
import { deploymentId } from "../protocol/ids.ts";
import { HOPS_MAX } from "../protocol/limits.ts";
import type { ChunkType, Stream, StreamEvents } from "../protocol/stream.ts";
import { Forward, type Reply } from "./forward.ts";
import type { Pool } from "./pool.ts";

export interface SwitchContext {
  now(): number;
  /** Calls back after `ms`; returns what calls it off. */
  after(ms: number, callback: () => void): () => void;
  pool(app: string, deployment: string): Pool | undefined;
}

/** Whom a link may call. */
export type Callees = Pick<ReadonlySet<string>, "has">;
/** A script of the operator's. */
export const ANYONE: Callees = { has: () => true };

/** What to tell about a stream that a caller with these permitted callees has opened. */
export function switched(
  context: SwitchContext,
  callees: Callees,
  stream: Stream,
  head: OpenHead,
  ended: boolean,
): StreamEvents {
  const refusal = refuse(context, callees, head);
  if (refusal !== null) {
    stream.fail(refusal);
    return {};
  }
  const passage = new Passage(context, context.pool(head.app, head.deployment)!, stream, head, ended);
  stream.events = passage.fromCaller;
  passage.start();
  return passage.fromCaller;
}

function refuse(context: SwitchContext, callees: Callees, head: OpenHead): FailHead | null {
  const id = deploymentId(head.app, head.deployment);
  if (head.kind !== "call") return { code: "PERMISSION_DENIED", message: "A replica may only open calls." };
  if (!callees.has(id))
    return { code: "PERMISSION_DENIED", message: `This replica may not call ${id}: it is not bound to it.` };
  if (head.hops >= HOPS_MAX)
    return {
      code: "INVALID_ARGUMENT",
      message: `The call has passed ${HOPS_MAX} ingresses: do deployments call each other in a circle?`,
    };
  if (context.pool(head.app, head.deployment) === undefined)
    return { code: "NOT_FOUND", message: `There is no deployment ${id}.` };
  return null;
}

/** From the callee to the caller. */
class Passage implements Reply {
  readonly #caller: Stream;
  readonly #forward: Forward;
  readonly #stopTimer: (() => void) | null;
  /** Bytes written to the caller that wait for its credit; the callee gets its credit for them when they have gone. */
  #owed = 0;
  readonly fromCaller: FromCaller;

  constructor(context: SwitchContext, pool: Pool, caller: Stream, head: OpenHead, ended: boolean) {
    this.#caller = caller;
    const deadline = head.deadlineMs === null ? null : context.now() + head.deadlineMs;
    const request = { head: { ...head, hops: head.hops + 1, epoch: 0 }, repeatable: false, deadline, ended };
    this.#forward = new Forward(pool, request, this);
    this.#stopTimer =
      head.deadlineMs === null ? null : context.after(Math.max(0, head.deadlineMs), () => this.#forward.expire());
    this.fromCaller = new FromCaller(caller, this.#forward, this);
  }

  start(): void {
    this.#caller.accept();
    this.#forward.start();
  }

  onHead(head: ResponseHead): void {
    this.#caller.head(head);
  }
  onChunk(payload: Uint8Array, type: ChunkType, more: boolean, charge: number): void {
    if (this.#caller.write(type, payload, more)) this.#forward.consumed(charge);
    else this.#owed += charge;
  }
  onEnd(end: EndHead): void {
    this.over();
    this.#caller.end(end);
  }
  onFail(fail: FailHead): void {
    this.over();
    this.#caller.fail(fail);
  }
  onWritable(): void {
    this.fromCaller.bodyWritable();
  }
  onCut(reason: string): void {
    this.fromCaller.onCancel(reason);
    this.#caller.cancel(reason);
  }

  /** The caller has taken what was written to it. */
  callerWritable(): void {
    const owed = this.#owed;
    this.#owed = 0;
    this.#forward.consumed(owed);
  }

  over(): void {
    this.#stopTimer?.();
  }
}

/** From the caller to the callee. */
class FromCaller implements StreamEvents {
  readonly #caller: Stream;
  readonly #forward: Forward;
  readonly #passage: Passage;
  #owed = 0;

  constructor(caller: Stream, forward: Forward, passage: Passage) {
    this.#caller = caller;
    this.#forward = forward;
    this.#passage = passage;
  }

  onChunk(payload: Uint8Array, type: ChunkType, more: boolean, charge: number): void {
    this.#caller.parked(charge);
    if (this.#forward.write(type, payload, more)) this.#caller.consumed(charge);
    else this.#owed += charge;
  }
  onEnd(end: EndHead): void {
    this.#forward.end(end);
  }
  onFail(): void {
    this.onCancel("The calling replica is gone.");
  }
  onCancel(reason: string): void {
    this.#passage.over();
    this.#forward.cancel(reason);
  }
  onWritable(): void {
    this.#passage.callerWritable();
  }
  onClosed(): void {
    this.#forward.taken();
  }

  bodyWritable(): void {
    const owed = this.#owed;
    this.#owed = 0;
    this.#caller.consumed(owed);
  }
}
