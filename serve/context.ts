/**
 * The context of one request: what user code may know about it, and how it learns that it has been called off.
 * Explicit (the last parameter of every entry method); ambient getters are a convenience where the platform has storage for them.
 */
import { SkeinError } from "../protocol/errors.ts";
import type { GrpcCall } from "./grpc.ts";
import type { CallOrigin, DeploymentHandle } from "./handle.ts";
import { withOrigin } from "./handle.ts";
import { runtime } from "./runtime.ts";

/** Who this replica is; Ray's `serve.get_replica_context()`. */
export interface ReplicaContext {
  readonly appName: string;
  readonly deployment: string;
  /** `app#deployment#suffix` */
  readonly replicaId: string;
  readonly workerId: string;
  readonly hostId: string;
  /** 0 for the first replica of the deployment. */
  readonly rank: number;
  readonly routePrefix: string | null;
  readonly kind: "node" | "browser" | "local";
}

/** One request, as its handler sees it: the last parameter of every entry method. */
export interface Context {
  /** Aborted when the caller is gone, the deadline has passed or the replica stops. Aborted first, then the generator's `return()` is called. */
  readonly signal: AbortSignal;
  /** ms since 1970 by this machine's clock, null for none. */
  readonly deadline: number | null;
  readonly requestId: string;
  /** "" when the request names no model. */
  readonly multiplexedModelId: string;
  readonly replica: ReplicaContext;
  /** Metadata and status of a call that came by gRPC; undefined for others. */
  readonly grpc?: GrpcCall | undefined;
  /** The same handle, whose calls inherit this request's id, deadline and cancellation. */
  call<T>(handle: DeploymentHandle<T>): DeploymentHandle<T>;
}

/** Ambient storage (AsyncLocalStorage in Node). */
export interface ContextStorage {
  run<R>(context: Context, body: () => R): R;
  current(): Context | undefined;
}

export interface ContextFields {
  readonly deadline: number | null;
  readonly requestId: string;
  readonly multiplexedModelId: string;
  readonly replica: ReplicaContext;
  readonly hops: number;
}

/** The context as the runtime holds it. An AbortController is made only when user code asks for the signal. */
export class RequestContext implements Context, CallOrigin {
  readonly deadline: number | null;
  readonly requestId: string;
  readonly multiplexedModelId: string;
  readonly replica: ReplicaContext;
  /** Ingresses that the request has passed. */
  readonly hops: number;
  grpc: GrpcCall | undefined;
  #controller: AbortController | undefined;
  #cancelled: SkeinError | undefined;
  #listeners: Set<(reason: SkeinError) => void> | undefined;

  constructor(fields: ContextFields) {
    this.deadline = fields.deadline;
    this.requestId = fields.requestId;
    this.multiplexedModelId = fields.multiplexedModelId;
    this.replica = fields.replica;
    this.hops = fields.hops;
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#cancelled !== undefined) this.#controller.abort(this.#cancelled);
    }
    return this.#controller.signal;
  }

  get cancelled(): SkeinError | undefined {
    return this.#cancelled;
  }

  call<T>(handle: DeploymentHandle<T>): DeploymentHandle<T> {
    return withOrigin(handle, this);
  }

  /** Calls back once when the request is called off (at once if it already is). Returns how to stop listening. */
  onCancel(listener: (reason: SkeinError) => void): () => void {
    if (this.#cancelled !== undefined) {
      listener(this.#cancelled);
      return () => {};
    }
    const listeners = (this.#listeners ??= new Set());
    listeners.add(listener);
    return () => void listeners.delete(listener);
  }

  /** For the runtime: calls the request off. Later calls have no effect. */
  cancel(reason: SkeinError): void {
    if (this.#cancelled !== undefined) return;
    this.#cancelled = reason;
    this.#controller?.abort(reason);
    const listeners = this.#listeners;
    this.#listeners = undefined;
    listeners?.forEach((listener) => listener(reason));
  }
}

/** Runs `body` with `context` as the ambient one, where the platform can. */
export function runWithContext<R>(context: Context, body: () => R): R {
  const storage = runtime().contexts;
  return storage === null ? body() : storage.run(context, body);
}

/** The ambient context or undefined; never throws. */
export const ambientContext = (): Context | undefined => runtime().contexts?.current();

/**
 * The context of the request that this code runs for. Node only: a tab has no ambient storage; use the `ctx` parameter there.
 * Throws `UNIMPLEMENTED` in a tab and `INVALID_ARGUMENT` outside of a request.
 */
export function getContext(): Context {
  const storage = runtime().contexts;
  if (storage === null)
    throw new SkeinError(
      "UNIMPLEMENTED",
      "There is no ambient request context here: take it from the last parameter of the method, `ctx`.",
    );
  const context = storage.current();
  if (context === undefined) throw new SkeinError("INVALID_ARGUMENT", "getContext() was called outside of a request.");
  return context;
}

/** Model id that the request names, "" for none; see getContext. */
export const getMultiplexedModelId = (): string => getContext().multiplexedModelId;

/** Who this replica is. Throws `INVALID_ARGUMENT` outside of one. */
export function getReplicaContext(): ReplicaContext {
  // In local testing there is one for each deployment, known from the request.
  const replica = runtime().replica ?? ambientContext()?.replica;
  if (replica === undefined)
    throw new SkeinError(
      "INVALID_ARGUMENT",
      "`getReplicaContext()` may only be called from within a Skein deployment.",
    );
  return replica;
}
