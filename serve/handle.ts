/**
 * Typed handles of other deployments: `await handle.chat("hi")`, `for await (const piece of handle.tokens("hi"))`.
 * Knows how a call is made and inherited, not how it travels: that is the injected `Caller`.
 */
import type { SkeinError } from "../protocol/errors.ts";
import type { Context } from "./context.ts";
import { DeploymentResponse } from "./call-response.ts";
import { runtime } from "./runtime.ts";

export interface Target {
  readonly app: string;
  readonly deployment: string;
}

/** What a call inherits from the request that makes it. */
export interface CallOrigin {
  readonly requestId: string;
  /** ms since 1970, null for none. */
  readonly deadline: number | null;
  readonly hops: number;
  onCancel(listener: (reason: SkeinError) => void): () => void;
}

export interface Call {
  readonly target: Target;
  readonly method: string;
  readonly args: readonly unknown[];
  readonly model: string;
  readonly origin: CallOrigin | undefined;
  readonly signal: AbortSignal | undefined;
}

/** Carries calls: over links (worker/replica), or inside one process (local.ts). */
export interface Caller {
  unary(call: Call): Promise<unknown>;
  stream(call: Call): AsyncGenerator<unknown>;
}

/** Name on the wire of the call operator of a function deployment. */
export const CALL_OPERATOR = "__call__";

/** How calls of a handle are made: `handle.options({ … })` gives another handle. */
export interface HandleOptions {
  /** The method yields: iterate its response. Without it, awaiting and iterating decide. */
  readonly stream?: boolean;
  /** The replica that has this model loaded is preferred; the callee reads it as `ctx.multiplexedModelId`. */
  readonly multiplexedModelId?: string;
  /** For function deployments and dynamic names: the method that `handle(…)` calls. */
  readonly methodName?: string;
  /** Aborting it cancels the call. */
  readonly signal?: AbortSignal;
}

type WithoutContext<A extends readonly unknown[]> = A extends readonly [...infer Rest, infer Last]
  ? [Last] extends [Context | undefined]
    ? unknown extends Last
      ? A
      : Rest
    : A
  : A;
/** An argument, or another call's response that isn't awaited yet. */
type HandleArgs<A extends readonly unknown[]> = { [K in keyof A]: A[K] | DeploymentResponse<A[K], unknown> };
type Element<R> = R extends string
  ? never
  : R extends AsyncIterable<infer X>
    ? X
    : R extends Iterable<infer X>
      ? X
      : never;
/** Elements of what a method returns: of a generator, or of the iterable that its promise resolves to. */
type Elements<R> = R extends AsyncIterable<infer X> ? X : R extends Promise<infer P> ? Element<P> : Element<R>;

type RemoteMethod<F> = F extends (...args: infer A) => infer R
  ? (...args: HandleArgs<WithoutContext<A>>) => DeploymentResponse<Awaited<R>, Elements<R>>
  : never;
type RemoteMethods<T> = {
  readonly [
    K in keyof T as K extends string ? (T[K] extends (...args: never[]) => unknown ? K : never) : never
  ]: RemoteMethod<T[K]>;
};

declare const target: unique symbol;
/** What every handle has, whatever its deployment. */
export interface HandleBase<T> {
  readonly [target]?: T;
  options(options: HandleOptions): DeploymentHandle<T>;
}
/** Handle of a deployment of `T`: its methods, called elsewhere. A function deployment's handle is called itself. */
export type DeploymentHandle<T> = HandleBase<T> &
  (T extends (...args: never[]) => unknown ? RemoteMethod<T> : Omit<RemoteMethods<T>, "options">);

interface HandleState {
  readonly caller: Caller;
  readonly target: Target;
  readonly options: HandleOptions;
  readonly origin: CallOrigin | undefined;
}

const states = new WeakMap<object, HandleState>();

/** A handle of `target` whose calls go through `caller`. */
export function makeHandle<T>(
  caller: Caller,
  target: Target,
  options: HandleOptions = {},
  origin?: CallOrigin,
): DeploymentHandle<T> {
  const state: HandleState = { caller, target, options, origin };
  const methods = new Map<string, (...args: unknown[]) => DeploymentResponse<unknown, unknown>>();
  const method = (name: string): ((...args: unknown[]) => DeploymentResponse<unknown, unknown>) => {
    let found = methods.get(name);
    if (found === undefined) methods.set(name, (found = (...args) => call(state, name, args)));
    return found;
  };
  const withOptions = (more: HandleOptions): DeploymentHandle<T> =>
    makeHandle(caller, target, { ...options, ...more }, origin);
  const proxy = new Proxy(() => {}, {
    apply: (_, __, args: unknown[]) => call(state, options.methodName ?? CALL_OPERATOR, args),
    get: (_, name) => {
      if (typeof name === "symbol") return undefined;
      if (name === "options") return withOptions;
      // `await handle` must give the handle, and printing it must not call anything.
      if (name === "then" || name === "toJSON") return undefined;
      if (name === "toString") return () => `DeploymentHandle(deployment='${target.deployment}', app='${target.app}')`;
      return method(name);
    },
  });
  states.set(proxy, state);
  return proxy as unknown as DeploymentHandle<T>;
}

/** The deployment that a handle calls. */
export function targetOf<T>(handle: DeploymentHandle<T>): Target {
  const state = states.get(handle as object);
  if (state === undefined) throw new TypeError("That is no deployment handle.");
  return state.target;
}

/** The same handle with another origin; `ctx.call` is the public form. */
export function withOrigin<T>(handle: DeploymentHandle<T>, origin: CallOrigin): DeploymentHandle<T> {
  const state = states.get(handle as object);
  if (state === undefined) throw new TypeError("ctx.call takes a deployment handle.");
  return makeHandle(state.caller, state.target, state.options, origin);
}

function call(state: HandleState, method: string, args: readonly unknown[]): DeploymentResponse<unknown, unknown> {
  const { caller, target, options } = state;
  const origin = state.origin ?? (runtime().contexts?.current() as (Context & CallOrigin) | undefined);
  return new DeploymentResponse(
    { caller, target, method, args, model: options.multiplexedModelId ?? "", origin, signal: options.signal },
    options.stream === true,
  );
}
