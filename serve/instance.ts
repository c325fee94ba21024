/**
 * One constructed deployment and how its methods are called. Shared by replicas and local testing.
 * Knows user code's conventions (init, reconfigure, checkHealth, ctx last), nothing of links.
 */
import { SkeinError } from "../protocol/errors.ts";
import { isClass, type Servable } from "./deployment.ts";
import { CALL_OPERATOR } from "./handle.ts";
import type { Context } from "./context.ts";

type Method = (...args: unknown[]) => unknown;
const NEVER_CALLED = new Set(["constructor", "init"]);
/** Names that mean something else: an RPC `Fetch` is served by a method `Fetch`, never by the HTTP entry. */
const NEVER_RPC = new Set([...NEVER_CALLED, "fetch", "reconfigure", "checkHealth"]);

export class Instance {
  readonly value: object;
  readonly #name: string;
  readonly #operator: Method | undefined;
  readonly #fetch: Method | undefined;

  /** Constructs a class; functions and objects serve as they stand. What a constructor throws comes out as it is. */
  constructor(name: string, target: Servable, args: readonly unknown[]) {
    this.#name = name;
    if (isClass(target)) this.value = new (target as unknown as new (...args: readonly unknown[]) => object)(...args);
    else this.value = target as object;
    this.#operator = typeof this.value === "function" ? (this.value as Method) : undefined;
    this.#fetch = this.#operator ?? this.#own("fetch");
  }

  /** Awaits `init()`, then applies the user config. Throws what they throw, and Ray's words when there is a config and no `reconfigure`. */
  async start(app: string, userConfig: unknown): Promise<void> {
    await this.#own("init")?.call(this.value);
    if (userConfig != null) await this.reconfigure(app, userConfig);
  }

  async reconfigure(app: string, userConfig: unknown): Promise<void> {
    const method = this.#own("reconfigure");
    if (method === undefined)
      throw new SkeinError(
        "INVALID_ARGUMENT",
        `user_config specified but deployment Deployment(name='${this.#name}', app='${app}') missing reconfigure method`,
      );
    await method.call(this.value, userConfig);
  }

  /** Whether it has a health check of its own. */
  get checksHealth(): boolean {
    return this.#own("checkHealth") !== undefined;
  }

  async checkHealth(): Promise<void> {
    await this.#own("checkHealth")?.call(this.value);
  }

  async dispose(): Promise<void> {
    const holder = this.value as Partial<AsyncDisposable & Disposable>;
    if (holder[Symbol.asyncDispose] !== undefined) await holder[Symbol.asyncDispose]!();
    else holder[Symbol.dispose]?.();
  }

  /** The HTTP entry. */
  fetch(request: unknown, context: Context): unknown {
    if (this.#fetch === undefined)
      throw new SkeinError(
        "APPLICATION_ERROR",
        `Deployment '${this.#name}' takes HTTP requests but has no method fetch(request, ctx).`,
      );
    return this.#fetch.call(this.value, request, context);
  }

  /** Calls a method and gives back what it returns. `ctx` goes where the method declares it: last, when the caller gave fewer arguments. */
  invoke(name: string, args: readonly unknown[], context: Context): unknown {
    const method = this.#method(name);
    if (args.length >= method.length) return method.apply(this.value, args as unknown[]);
    const all = [...args];
    all[method.length - 1] = context;
    return method.apply(this.value, all);
  }

  /**
   * Calls the method of an RPC: the one with its name, or with that name and a small first letter. A function serves the RPC `__call__`.
   * Throws `APPLICATION_ERROR`, in Ray's words, when there is none.
   */
  rpc(name: string, request: unknown, context: Context): unknown {
    const small = name.charAt(0).toLowerCase() + name.slice(1);
    const method =
      name === CALL_OPERATOR
        ? (this.#operator ?? this.#own(name))
        : (this.#own(name) ?? (NEVER_RPC.has(small) ? undefined : this.#own(small)));
    if (method === undefined || name in Object.prototype || NEVER_CALLED.has(name))
      throw new SkeinError("APPLICATION_ERROR", this.#noMethod(name));
    return method.call(this.value, request, context);
  }

  /** The value of a unary call. Throws a TypeError when the method yields and can't be awaited. */
  async call(name: string, args: readonly unknown[], context: Context): Promise<unknown> {
    const result = await this.invoke(name, args, context);
    if (isIterator(result))
      throw new TypeError(
        `Method '${name}' returned a generator. You must iterate the response, or use \`handle.options({ stream: true })\`, to call generators on a deployment.`,
      );
    return result;
  }

  /** The iterable of a streaming call. Throws a TypeError when the method doesn't yield. */
  async iterate(
    name: string,
    args: readonly unknown[],
    context: Context,
  ): Promise<AsyncIterable<unknown> | Iterable<unknown>> {
    const returned = this.invoke(name, args, context);
    // Before awaiting: a Generation is both awaitable and iterable, and here it is iterated.
    const result = isIterable(returned) ? returned : await returned;
    if (isIterable(result)) return result;
    throw new TypeError(
      `Called method '${name}' with \`handle.options({ stream: true })\` but it did not return a generator.`,
    );
  }

  #own(name: string): Method | undefined {
    const found = (this.value as Record<string, unknown>)[name];
    return typeof found === "function" ? (found as Method) : undefined;
  }

  #method(name: string): Method {
    if (name === CALL_OPERATOR && this.#operator !== undefined) return this.#operator;
    const found = isCallable(name) && !(name in Object.prototype) ? this.#own(name) : undefined;
    if (found === undefined || NEVER_CALLED.has(name)) throw new SkeinError("NOT_FOUND", this.#noMethod(name));
    return found;
  }

  #noMethod(name: string): string {
    return `Tried to call a method '${name}' that does not exist. Available methods: [${this.methods()
      .map((m) => `'${m}'`)
      .join(", ")}].`;
  }

  /** Names that handles may call, sorted. */
  methods(): string[] {
    const names = new Set<string>();
    for (
      let holder: object | null = this.value;
      holder !== null && holder !== Object.prototype && holder !== Function.prototype;
      holder = Object.getPrototypeOf(holder) as object | null
    )
      for (const name of Object.getOwnPropertyNames(holder))
        if (
          isCallable(name) &&
          !NEVER_CALLED.has(name) &&
          typeof Object.getOwnPropertyDescriptor(holder, name)?.value === "function"
        )
          names.add(name);
    return [...names].sort();
  }
}

const isCallable = (name: string): boolean => !name.startsWith("_");

/** An async iterable, or a generator. Strings, arrays and the like are values. */
export function isIterable(value: unknown): value is AsyncIterable<unknown> | Iterable<unknown> {
  if (typeof value !== "object" || value === null) return false;
  if (Symbol.asyncIterator in value) return true;
  return isIterator(value) && Symbol.iterator in value;
}

const isIterator = (value: unknown): boolean =>
  typeof value === "object" &&
  value !== null &&
  typeof (value as Partial<Iterator<unknown>>).next === "function" &&
  (Symbol.iterator in value || Symbol.asyncIterator in value);
