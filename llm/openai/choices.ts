/**
 * The generations that answer one request, as one series of events, whatever API it came by. Starts them together, tells calls from text,
 * counts; leaving the series stops the engine. Time and ids are arguments.
 */
import {
  type ChosenScore,
  GrammarError,
  type PromptInput,
  type PromptScore,
  type TokenScore,
} from "../../engine/index.ts";
import type { EngineModel, EngineOutput } from "../host.ts";
import { OPENAI_OPENING_WAIT_MS } from "../../protocol/limits.ts";
import { invalid, sentence } from "./errors.ts";
import { isLate } from "./keep-alive.ts";
import type { EngineOptions } from "./sampling.ts";
import { type Thinking, ThoughtParser } from "./thought-parser.ts";
import type { ToolCallParser } from "./tool-call-parser.ts";

/** One answer that is wanted. */
export interface Ask {
  readonly input: PromptInput;
  readonly options: EngineOptions;
  /** The field that the options' grammar comes from. */
  readonly grammarField?: string;
  /** Its model may think before it answers. */
  readonly thinks?: boolean;
  /** Its tokens' ids are wanted. */
  readonly listsTokens?: boolean;
  /** Tokens with logprobs are named by their ids, as vLLM does it, and not by what they say. */
  readonly namesById?: boolean;
  /** Only the prompt matters: the one token that must be asked for is left out. */
  readonly promptOnly?: boolean;
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
  /** What the model thinks of the prompt's tokens but the first, before all else, where it is wanted. */
  | { readonly kind: "prompt"; readonly index: number; readonly scores: readonly PromptScore[] }
  /** What it thinks before it answers. */
  | { readonly kind: "thought"; readonly index: number; readonly text: string }
  | {
      readonly kind: "call";
      readonly index: number;
      /** 0 for the answer's first call. */
      readonly call: number;
      readonly id: string;
      readonly name: string;
      readonly arguments: string;
    }
  | {
      readonly kind: "end";
      readonly index: number;
      readonly finishReason: "stop" | "length" | "tool_calls";
      /** The stop text or token that ended it. */
      readonly stoppedBy?: string | number;
    };

/** Of a stream, which has something to say before the model has. */
export type StreamEvent = { readonly kind: "begin" } | AnswerEvent;

export interface Usage {
  /** Each prompt once, however many answers it has. */
  readonly promptTokens: number;
  /** Of these, tokens that were in the prefix cache. */
  readonly cachedTokens: number;
  readonly completionTokens: number;
  /** Of these, tokens of thoughts. */
  readonly reasoningTokens: number;
}

/** How long things took, ms; in vLLM's words. The first token's time has the waiting for a slot in it: when that ended, the engine doesn't say. */
export interface Timings {
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

/** Tokens at a prompt's end that hold the mark of a thought and white space behind it, if it is there. */
const THOUGHT_MARK_TOKENS = 12;

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
  #firstAt: number | undefined;
  #lastAt = 0;
  #promptTokens = 0;
  #cachedTokens = 0;
  #completionTokens = 0;
  #reasoningTokens = 0;
  #prompts: readonly (readonly number[])[] = [];
  /** Ids of each answer, where they are wanted. */
  readonly #tokens: readonly number[][];
  /** Answers whose prompt has opened a thought. */
  #insideThought: readonly boolean[] = [];

  private constructor(
    asks: readonly Ask[],
    outputs: readonly EngineOutput[],
    answersPerPrompt: number,
    surroundings: Surroundings,
    startedAt: number,
  ) {
    this.#answersPerPrompt = answersPerPrompt;
    this.#asks = asks;
    this.#outputs = outputs;
    this.#surroundings = surroundings;
    this.#startedAt = startedAt;
    this.#tokens = asks.map(() => []);
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
    const startedAt = surroundings.now();
    const outputs = asks.map(({ input, options }) =>
      model.generate({ ...input, ...options, ...(signal === undefined ? {} : { signal }) }),
    );
    const choices = new Choices(asks, outputs, answersPerPrompt, surroundings, startedAt);
    try {
      const prompts = await Promise.all(outputs.map((output) => output.promptTokens));
      choices.#prompts = prompts;
      choices.#promptTokens = prompts.reduce(
        (sum, { length }, at) => sum + (at % answersPerPrompt === 0 ? length : 0),
        0,
      );
      choices.#insideThought = await Promise.all(prompts.map((prompt, at) => opensThought(model, asks[at]!, prompt)));
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
      reasoningTokens: this.#reasoningTokens,
    };
  }

  /** The ids of an answer's prompt. */
  promptOf(index: number): readonly number[] {
    return this.#prompts[index]!;
  }

  /** The ids of an answer; undefined where they aren't wanted. */
  tokensOf(index: number): readonly number[] | undefined {
    return this.#asks[index]!.listsTokens === true ? this.#tokens[index] : undefined;
  }

  get timings(): Timings {
    const first = this.#firstAt ?? this.#lastAt;
    const generating = this.#lastAt - first;
    const gaps = Math.max(0, this.#completionTokens - this.#outputs.length);
    const round = (value: number): number => Math.round(value * 100) / 100;
    return {
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

  /** The same behind a `begin`, which comes with the first of them, or after a while without any; not where they break before. */
  async *streamEvents(): AsyncGenerator<StreamEvent, void, undefined> {
    const events = this.events();
    try {
      const first = events.next();
      // A message of its own for what opens a stream would wake everybody on its way, on cores that read the prompt.
      if (!(await isLate(first, OPENAI_OPENING_WAIT_MS, this.#surroundings.after))) await first;
      yield { kind: "begin" };
      const { done, value } = await first;
      if (done === true) return;
      yield value;
      yield* events;
    } finally {
      this.cancel();
    }
  }

  async *#answer(index: number): AsyncGenerator<AnswerEvent, void, undefined> {
    const output = this.#outputs[index]!;
    const { calls, thinks = false, promptOnly = false, listsTokens = false, namesById = false } = this.#asks[index]!;
    const thoughts = thinks ? new ThoughtParser(this.#insideThought[index] === true) : undefined;
    const parser = calls?.parser();
    let called = 0;
    const say = function* ({ thought, text }: Thinking): Generator<AnswerEvent> {
      if (thought !== "") yield { kind: "thought", index, text: thought };
      if (parser !== undefined) yield* read(parser.push(text));
      else if (text !== "") yield { kind: "text", index, text };
    };
    const read = (parts: ReturnType<ToolCallParser["push"]>): AnswerEvent[] =>
      parts.flatMap((part): AnswerEvent[] => {
        if (called > 0 && calls?.onlyOne === true) return [];
        if (part.kind === "text") return [{ kind: "text", index, text: part.text }];
        const { name, arguments: values } = part;
        return [
          { kind: "call", index, call: called++, id: newId("call_", this.#surroundings), name, arguments: values },
        ];
      });
    for await (const { text, tokens, logprobs: scores, promptLogprobs } of output) {
      this.#lastAt = this.#surroundings.now();
      this.#firstAt ??= this.#lastAt;
      if (promptLogprobs !== undefined) yield { kind: "prompt", index, scores: promptLogprobs };
      if (promptOnly) continue;
      const logprobs = namesById ? scores?.map(namedById) : scores;
      if (listsTokens) this.#tokens[index]!.push(...tokens);
      this.#completionTokens += tokens.length;
      const wasInside = thoughts?.isInside === true;
      const said = thoughts?.push(text) ?? { thought: "", text };
      // A token that opens or closes a thought is one of its.
      const isThought = wasInside && (thoughts?.isInside === true || said.thought !== "" || said.text === "");
      if (isThought) this.#reasoningTokens += tokens.length;
      if (isThought || logprobs === undefined) yield* say(said);
      else if (parser === undefined) yield { kind: "text", index, text: said.text, logprobs };
      else {
        yield { kind: "text", index, text: "", logprobs };
        yield* say(said);
      }
      if (called > 0 && calls?.onlyOne === true) output.cancel();
    }
    const { finishReason, cachedTokens, stoppedBy } = await output.end;
    if (index % this.#answersPerPrompt === 0) this.#cachedTokens += cachedTokens;
    if (finishReason === "cancelled" && called === 0) return;
    if (thoughts !== undefined) yield* say(thoughts.finish());
    if (parser !== undefined) yield* read(parser.finish());
    const reason = called > 0 ? "tool_calls" : finishReason === "length" || promptOnly ? "length" : "stop";
    yield { kind: "end", index, finishReason: reason, ...(stoppedBy === undefined ? {} : { stoppedBy }) };
  }
}

/** Whether its answer goes on with a thought that the prompt began. One that is held to a grammar has none. */
async function opensThought(model: EngineModel, { thinks, options }: Ask, prompt: readonly number[]): Promise<boolean> {
  if (thinks !== true || options.grammar !== undefined) return false;
  return /<think>\s*$/.test(await model.detokenize(prompt.slice(-THOUGHT_MARK_TOKENS)));
}

/** The same scores of tokens that are called `token_id:<id>`. */
function namedById(score: ChosenScore): ChosenScore {
  const named = (one: TokenScore): TokenScore => ({ ...one, text: `token_id:${one.token}` });
  return { ...score, ...named(score), top: score.top.map(named) };
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
