/**
 * Deployments and applications as user code writes them: `deployment(LLM, options).bind(...args)`.
 * Binding runs nothing; the graph of bound deployments is walked by graph.ts and constructed by replicas.
 */
import { SkeinError } from "../protocol/errors.ts";
import type { HandleBase } from "./handle.ts";
import { toWireOptions, type DeploymentOptions } from "./options.ts";

export type Constructor = abstract new (...args: never[]) => object;
export type Entry = (...args: never[]) => unknown;
/** Any object with `fetch`, such as a Hono app, is an ingress as it stands. */
export interface FetchObject {
  fetch(...args: never[]): unknown;
}
/** What can be deployed: a class, a function `(request, ctx)`, or an object with `fetch`. */
export type Servable = Constructor | Entry | FetchObject;

/** What a handle of it has: the instance of a class, a function or object itself. */
export type Served<S> = S extends abstract new (...args: never[]) => infer Instance ? Instance : S;

/** A constructor's parameter that is a handle is bound to an application, which arrives as a handle. */
type Bound<P> = P extends HandleBase<infer T> ? Application<T> : P;
type BindArgs<S> = S extends abstract new (...args: infer P) => unknown ? { [K in keyof P]: Bound<P[K]> } : readonly [];

declare const served: unique symbol;
/** A bound deployment, possibly holding others: what `skein run module:export` runs. */
export class Application<T = unknown> {
  declare readonly [served]?: T;
  readonly deployment: Deployment<Servable>;
  readonly args: readonly unknown[];
  constructor(deployment: Deployment<Servable>, args: readonly unknown[]) {
    this.deployment = deployment;
    this.args = args;
  }
}

/** A class, function or object with its options; made by `deployment()`. */
export class Deployment<S extends Servable> {
  readonly target: S;
  readonly name: string;
  /** As code wrote them. */
  readonly given: DeploymentOptions;
  /** In snake_case, checked. */
  readonly wire: Readonly<Record<string, unknown>>;

  constructor(target: S, given: DeploymentOptions) {
    this.target = target;
    this.name = given.name ?? nameOf(target);
    this.given = given;
    this.wire = Object.freeze(toWireOptions(this.name, given));
  }

  /** A copy with other options; those not named stay. */
  options(options: DeploymentOptions): Deployment<S> {
    return new Deployment(this.target, { ...this.given, ...options });
  }

  /** Fixes the constructor's arguments. Arguments that are applications arrive as handles. */
  bind(...args: BindArgs<S>): Application<Served<S>> {
    return new Application<Served<S>>(this as unknown as Deployment<Servable>, args as readonly unknown[]);
  }
}

function nameOf(target: Servable): string {
  const name = typeof target === "function" ? target.name : target.constructor.name;
  if (name === "" || name === "Object")
    throw new SkeinError(
      "INVALID_ARGUMENT",
      "A deployment needs a name: give the class or function one, or pass { name }.",
    );
  return name;
}

/** Options that a decorator put on a class. */
const decorated = new WeakMap<object, DeploymentOptions>();

/** True for a class, false for a plain function. */
export const isClass = (target: unknown): target is Constructor =>
  typeof target === "function" && /^class\b/.test(Function.prototype.toString.call(target));

type Decorator = <C extends Constructor>(target: C, context: ClassDecoratorContext<C>) => void;

/**
 * Makes a deployment of a class, a function `(request, ctx)`, or an object with `fetch`. With options alone it is a standard class decorator;
 * `deployment(Decorated).bind()` then uses them. Throws `INVALID_ARGUMENT` when an option isn't known or not valid.
 */
export function deployment<S extends Servable>(target: S, options?: DeploymentOptions): Deployment<S>;
export function deployment(options: DeploymentOptions): Decorator;
export function deployment(
  target: Servable | DeploymentOptions,
  options: DeploymentOptions = {},
): Deployment<Servable> | Decorator {
  if (typeof target === "function" || typeof (target as Partial<FetchObject>).fetch === "function")
    return new Deployment(target as Servable, { ...decorated.get(target), ...options });
  return (klass) => {
    toWireOptions(klass.name, target as DeploymentOptions);
    decorated.set(klass, target as DeploymentOptions);
  };
}
