/**
 * The generations that answer one request, as one series of events, whatever API it came by. Starts them together, tells calls from text,
 * counts; leaving the series stops the engine. Time and ids are arguments.
 */
import { type ChosenScore, GrammarError, type PromptInput } from "../../engine/index.ts";
import type { EngineModel, EngineOutput } from "../host.ts";
import { invalid, sentence } from "./errors.ts";
import type { EngineOptions } from "./sampling.ts";
import type { ToolCallParser } from "./tool-call-parser.ts";

/** One answer that is wanted. */
export interface Ask {
  readonly input: PromptInput;
  readonly options: EngineOptions;
  /** The field that the options' grammar comes from. */
  readonly grammarField?: string;
  /** Where functions may be called. */
  readonly calls?: {
    readonly parser: () => ToolCallParser;
    /** The answer ends with its first call. */
    readonly onlyOne: boolean;
  };
}

export type AnswerEvent =
  | {
      readonly kind: "text";
      readonly index: number;
      /** May be "" where only tokens are reported. */
      readonly text: string;
      /** Of the tokens that came with it, where they are wanted. */
      readonly logprobs?: readonly ChosenScore[];
    }
  | {
      readonly kind: "call";
      readonly index: number;
      /** 0 for the answer's first call. */
      readonly call: number;
      readonly id: string;
      readonly name: string;
      readonly arguments: string;
    }
  | { readonly kind: "end"; readonly index: number; readonly finishReason: "stop" | "length" | "tool_calls" };

export interface Usage {
  /** Each prompt once, however many answers it has. */
  readonly promptTokens: number;
  /** Of these, tokens that were in the prefix cache. */
  readonly cachedTokens: number;
  readonly completionTokens: number;
}

/** How long things took, ms; in vLLM's words. */
export interface Timings {
  readonly queue_time_ms: number;
  readonly time_to_first_token_ms: number;
  readonly generation_time_ms: number;
  readonly mean_itl_ms: number;
  readonly tokens_per_second: number;
}

/** Time, chance and timers, which pure code gets as arguments. */
export interface Surroundings {
  /** ms since 1970. */
  now(): number;
  /** In [0, 1). */
  random(): number;
  /** Calls back once after `ms`; returns how to call it off. */
  after(ms: number, callback: () => void): () => void;
}

const ID_LETTERS = "0123456789abcdefghijklmnopqrstuvwxyz";

/** `prefix` and 24 letters of chance. */
export const newId = (prefix: string, { random }: Pick<Surroundings, "random">): string =>
  prefix + Array.from({ length: 24 }, () => ID_LETTERS[Math.floor(random() * ID_LETTERS.length)]).join("");

export class Choices {
  readonly #asks: readonly Ask[];
  readonly #outputs: readonly EngineOutput[];
  readonly #answersPerPrompt: number;
  readonly #surroundings: Surroundings;
  readonly #startedAt: number;
  #acceptedAt = 0;
  #firstAt: number | undefined;
  #lastAt = 0;
  #promptTokens = 0;
  #cachedTokens = 0;
  #completionTokens = 0;

  private constructor(
    asks: readonly Ask[],
    outputs: readonly EngineOutput[],
    answersPerPrompt: number,
    surroundings: Surroundings,
  ) {
    this.#answersPerPrompt = answersPerPrompt;
    this.#asks = asks;
    this.#outputs = outputs;
    this.#surroundings = surroundings;
    this.#startedAt = surroundings.now();
  }

  /**
   * Starts them and waits until the engine has taken all of them in; rejects with its reason when it refuses one.
   * @param answersPerPrompt neighbours among `asks` that share a prompt
   */
  static async start(
    model: EngineModel,
    asks: readonly Ask[],
    answersPerPrompt: number,
    surroundings: Surroundings,
    signal: AbortSignal | undefined,
  ): Promise<Choices> {
    const outputs = asks.map(({ input, options }) =>
      model.generate({ ...input, ...options, ...(signal === undefined ? {} : { signal }) }),
    );
    const choices = new Choices(asks, outputs, answersPerPrompt, surroundings);
    try {
      const prompts = await Promise.all(outputs.map((output) => output.promptTokens));
      choices.#acceptedAt = surroundings.now();
      choices.#promptTokens = prompts.reduce(
        (sum, { length }, at) => sum + (at % answersPerPrompt === 0 ? length : 0),
        0,
      );
    } catch (error) {
      choices.cancel();
      const field = asks[0]?.grammarField;
      throw error instanceof GrammarError && field !== undefined ? invalid(field, sentence(error.message)) : error;
    }
    return choices;
  }

  /** Complete once the events have ended. */
  get usage(): Usage {
    return {
      promptTokens: this.#promptTokens,
      cachedTokens: this.#cachedTokens,
      completionTokens: this.#completionTokens,
    };
  }

  get timings(): Timings {
    const first = this.#firstAt ?? this.#lastAt;
    const generating = this.#lastAt - first;
    const gaps = Math.max(0, this.#completionTokens - this.#outputs.length);
    const round = (value: number): number => Math.round(value * 100) / 100;
    return {
      queue_time_ms: round(this.#acceptedAt - this.#startedAt),
      time_to_first_token_ms: round(first - this.#startedAt),
      generation_time_ms: round(generating),
      mean_itl_ms: gaps === 0 ? 0 : round(generating / gaps),
      tokens_per_second: generating === 0 ? 0 : round((gaps * 1_000) / generating),
    };
  }

  cancel(): void {
    for (const output of this.#outputs) output.cancel();
  }

  /** May be taken once. Rejects where the engine breaks; ends without an `end` where the request was called off. */
  async *events(): AsyncGenerator<AnswerEvent, void, undefined> {
    try {
      const answers = this.#outputs.map((_, index) => this.#answer(index));
      yield* answers.length === 1 ? answers[0]! : merged(answers);
    } finally {
      this.cancel();
    }
  }

  async *#answer(index: number): AsyncGenerator<AnswerEvent, void, undefined> {
    const output = this.#outputs[index]!;
    const { calls } = this.#asks[index]!;
    const parser = calls?.parser();
    let called = 0;
    const read = (parts: ReturnType<ToolCallParser["push"]>): AnswerEvent[] =>
      parts.flatMap((part): AnswerEvent[] => {
        if (called > 0 && calls?.onlyOne === true) return [];
        if (part.kind === "text") return [{ kind: "text", index, text: part.text }];
        const { name, arguments: values } = part;
        return [
          { kind: "call", index, call: called++, id: newId("call_", this.#surroundings), name, arguments: values },
        ];
      });
    for await (const { text, tokens, logprobs } of output) {
      this.#lastAt = this.#surroundings.now();
      this.#firstAt ??= this.#lastAt;
      this.#completionTokens += tokens.length;
      if (logprobs !== undefined) yield { kind: "text", index, text: parser === undefined ? text : "", logprobs };
      else if (parser === undefined && text !== "") yield { kind: "text", index, text };
      if (parser !== undefined) yield* read(parser.push(text));
      if (called > 0 && calls?.onlyOne === true) output.cancel();
    }
    const { finishReason, cachedTokens } = await output.end;
    if (index % this.#answersPerPrompt === 0) this.#cachedTokens += cachedTokens;
    if (finishReason === "cancelled" && called === 0) return;
    if (parser !== undefined) yield* read(parser.finish());
    const reason = called > 0 ? "tool_calls" : finishReason === "length" ? "length" : "stop";
    yield { kind: "end", index, finishReason: reason };
  }
}

/** Elements of all, as they come. */
async function* merged<T>(sources: readonly AsyncGenerator<T, void, undefined>[]): AsyncGenerator<T, void, undefined> {
  const take = async (source: AsyncGenerator<T, void, undefined>) => ({ source, result: await source.next() });
  const pending = new Map(sources.map((source) => [source, take(source)]));
  while (pending.size > 0) {
    const { source, result } = await Promise.race(pending.values());
    if (result.done === true) pending.delete(source);
    else {
      pending.set(source, take(source));
      yield result.value;
    }
  }
}
