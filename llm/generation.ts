/**
 * A running generation: iterate it for pieces of text as they come, or await it for the whole. Leaving the loop stops the engine.
 * It starts when it is first used, so that one that nobody wants costs nothing.
 */
import { SkeinError } from "../protocol/errors.ts";
import type { Streamable } from "../serve/answer.ts";
import type { GenerationPiece } from "../engine/index.ts";
import type { EngineOutput } from "./host.ts";

/** Why a generation ended: at its end of turn, at `maxTokens` or the slot's end, or because it was called off. */
export type FinishReason = "stop" | "length" | "cancelled";

/** Tokens of a finished generation. */
export interface Usage {
  readonly promptTokens: number;
  /** Of them, those that were cached: a beginning shared with what ran lately. */
  readonly cachedTokens: number;
  readonly completionTokens: number;
  readonly finishReason: FinishReason;
}

const TEXT_STREAM = ["content-type", "text/plain; charset=utf-8"] as const;

/**
 * An async function that returns a Generation resolves with its whole text (that is how promises treat whatever can be awaited).
 * To stream from an async `fetch`, return `generation.stream()`.
 */
export class Generation implements AsyncIterable<string>, PromiseLike<string>, Streamable {
  readonly streamHeaders = TEXT_STREAM;
  readonly #start: () => EngineOutput;
  #output: EngineOutput | undefined;
  #taken = false;
  #text: Promise<string> | undefined;

  constructor(start: () => EngineOutput) {
    this.#start = start;
  }

  /** Counts and why it ended, once it has. Rejects when the engine refused the request or died. */
  get usage(): Promise<Usage> {
    return this.#run().end.then(
      ({ promptTokens, cachedTokens, completionTokens, finishReason }) => ({
        promptTokens,
        cachedTokens,
        completionTokens,
        finishReason,
      }),
      rethrow,
    );
  }

  get finishReason(): Promise<FinishReason> {
    return this.usage.then((usage) => usage.finishReason);
  }

  /** Its `return()` stops the engine even while a piece is awaited, which a plain generator's can't. */
  [Symbol.asyncIterator](): AsyncIterableIterator<string, undefined, undefined> {
    return this.#stoppable(this.#texts());
  }

  /** The pieces with their token ids, and logprobs where asked for; a piece's text may be "". Instead of iterating the text. */
  pieces(): AsyncIterableIterator<GenerationPiece, undefined, undefined> {
    return this.#stoppable(this.#pieces());
  }

  #stoppable<T>(pieces: AsyncGenerator<T, void, undefined>): AsyncIterableIterator<T, undefined, undefined> {
    return {
      [Symbol.asyncIterator]() {
        return this;
      },
      next: () => pieces.next() as Promise<IteratorResult<T, undefined>>,
      return: () => {
        this.#output?.cancel();
        return pieces.return(undefined) as Promise<IteratorResult<T, undefined>>;
      },
    };
  }

  async *#texts(): AsyncGenerator<string, void, undefined> {
    for await (const { text } of this.#pieces()) if (text !== "") yield text;
  }

  async *#pieces(): AsyncGenerator<GenerationPiece, void, undefined> {
    if (this.#taken) throw new TypeError("A Generation can be consumed once: it has been iterated or awaited already.");
    this.#taken = true;
    try {
      yield* this.#run();
    } catch (error) {
      rethrow(error);
    }
  }

  /** The whole text. Rejects with `CANCELLED` when it was called off before its end. */
  text(): Promise<string> {
    return (this.#text ??= this.#collect());
  }

  /** The same pieces without being awaitable: what an async `fetch` returns in order to stream. */
  stream(): AsyncIterable<string> & Streamable {
    return { streamHeaders: TEXT_STREAM, [Symbol.asyncIterator]: () => this[Symbol.asyncIterator]() };
  }

  cancel(): void {
    this.#run().cancel();
  }

  // oxlint-disable-next-line unicorn/no-thenable -- `await model.chat(…)` is the whole text.
  then<A = string, B = never>(
    fulfilled?: ((text: string) => A | PromiseLike<A>) | null,
    rejected?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return this.text().then(fulfilled, rejected);
  }

  catch<B = never>(rejected?: ((reason: unknown) => B | PromiseLike<B>) | null): Promise<string | B> {
    return this.text().catch(rejected);
  }

  finally(settled?: (() => void) | null): Promise<string> {
    return this.text().finally(settled);
  }

  #run(): EngineOutput {
    return (this.#output ??= this.#start());
  }

  async #collect(): Promise<string> {
    let whole = "";
    for await (const piece of this) whole += piece;
    if ((await this.finishReason) === "cancelled")
      throw new SkeinError("CANCELLED", "The generation was cancelled before its end.");
    return whole;
  }
}

/** The engine knows nothing of our error codes: what it calls a RangeError is the caller's mistake. */
function rethrow(error: unknown): never {
  throw error instanceof RangeError
    ? new SkeinError("INVALID_ARGUMENT", sentence(error.message), { cause: error })
    : error;
}

const sentence = (text: string): string =>
  `${text.charAt(0).toUpperCase()}${text.slice(1)}${text.endsWith(".") ? "" : "."}`;
