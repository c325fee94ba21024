/**
 * The response of a handle call: awaited for a value, iterated for a stream, cancelled, or passed on as an argument.
 * The call starts at the end of the turn in which it was made, so that calls that nobody awaits yet run side by side.
 */
import { SkeinError } from "../protocol/errors.ts";
import type { Call, Caller } from "./handle.ts";

type State<T, E> =
  | { readonly as: "undecided" }
  | { readonly as: "value"; readonly result: Promise<T> }
  | { readonly as: "stream"; readonly iterator: AsyncGenerator<E> };

/** Awaitable for `T`; iterable for elements `E` when the method yields. */
export class DeploymentResponse<T, E = never> implements PromiseLike<T>, AsyncIterable<E> {
  readonly #call: Call & { readonly caller: Caller };
  readonly #abort = new AbortController();
  readonly #mustStream: boolean;
  #state: State<T, E> = { as: "undecided" };

  constructor(call: Call & { readonly caller: Caller }, mustStream: boolean) {
    this.#mustStream = mustStream;
    const signal = call.signal === undefined ? this.#abort.signal : AbortSignal.any([call.signal, this.#abort.signal]);
    this.#call = { ...call, signal };
    if (!mustStream) queueMicrotask(() => void (this.#state.as === "undecided" && this.#value()));
  }

  // oxlint-disable-next-line unicorn/no-thenable -- a response is awaited, as in Ray Serve.
  then<A = T, B = never>(
    fulfilled?: ((value: T) => A | PromiseLike<A>) | null,
    rejected?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return this.#value().then(fulfilled, rejected);
  }

  catch<B = never>(rejected?: ((reason: unknown) => B | PromiseLike<B>) | null): Promise<T | B> {
    return this.#value().catch(rejected);
  }

  finally(settled?: (() => void) | null): Promise<T> {
    return this.#value().finally(settled);
  }

  [Symbol.asyncIterator](): AsyncGenerator<E> {
    if (this.#state.as === "value")
      throw new TypeError(
        `The call of '${this.#call.method}' was started as a single value. Iterate it where it is made, or use handle.options({ stream: true }).`,
      );
    if (this.#state.as === "undecided") this.#state = { as: "stream", iterator: this.#iterate() };
    return this.#state.iterator;
  }

  /** Calls the call off, here and where it runs. */
  cancel(): void {
    this.#abort.abort(new SkeinError("CANCELLED", "The caller cancelled the call."));
  }

  /** Only whole responses may be arguments: nested in a list or object nobody would wait for them. */
  toJSON(): never {
    throw new TypeError(
      "A DeploymentResponse can't be serialised. Pass it as an argument of its own, not nested in a list or object, or await it first.",
    );
  }

  #value(): Promise<T> {
    if (this.#mustStream || this.#state.as === "stream")
      return Promise.reject(
        new TypeError("A streaming response can't be awaited directly. Use `for await (… of response)` instead."),
      );
    if (this.#state.as === "undecided") {
      const result = this.#resolved().then((call) => call.caller.unary(call)) as Promise<T>;
      // Whoever awaits it sees the error; one that nobody awaits must not end the process.
      result.catch(() => {});
      this.#state = { as: "value", result };
    }
    return this.#state.result;
  }

  async *#iterate(): AsyncGenerator<E> {
    const call = await this.#resolved();
    yield* call.caller.stream(call) as AsyncGenerator<E>;
  }

  /** The call with the responses among its arguments awaited. */
  async #resolved(): Promise<Call & { readonly caller: Caller }> {
    const call = this.#call;
    if (!call.args.some((arg) => arg instanceof DeploymentResponse)) return call;
    return {
      ...call,
      args: await Promise.all(call.args.map((arg) => (arg instanceof DeploymentResponse ? arg.#value() : arg))),
    };
  }
}
