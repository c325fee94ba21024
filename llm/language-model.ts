/** A language model as user code holds it: a client of the engine's thread. Knows neither files nor providers. */
import {
  type ChatMessage,
  CHOICES_MAX,
  choiceSeed,
  type EngineStats,
  type GenerateRequest,
  type SamplingParameters,
} from "../engine/index.ts";
import { SkeinError } from "../protocol/errors.ts";
import { ambientContext } from "../serve/context.ts";
import { Generation } from "./generation.ts";
import { grammarOf, type ResponseFormat } from "./response-format.ts";
import { type Device, engineHost, type EngineModel } from "./host.ts";

/** Tokens of prompt and answer together, per chat. */
export const SLOT_LENGTH_DEFAULT = 2_048;
/** Tokens of an answer when the caller doesn't say: enough for a chat, not enough to hold a slot for minutes. */
export const MAX_TOKENS_DEFAULT = 512;

/** What `LanguageModel.load` may be told about the engine. */
export interface LoadOptions {
  /** "auto": the best that this replica may use. */
  readonly device?: Device;
  /** Tokens of prompt and answer together; default 2,048. */
  readonly slotLength?: number;
  /** Chats that run at a time; default: as many as this replica's memory allows, 8 at most. */
  readonly slots?: number;
}

/** How an answer is sampled (greedy by default), and when it ends. What makes no sense is an `INVALID_ARGUMENT` that names it. */
export interface GenerateOptions extends Partial<SamplingParameters> {
  /** Tokens of the answer; default 512, cut to what the slot leaves. */
  readonly maxTokens?: number;
  /** The answer doesn't end before it has so many tokens; default 0. */
  readonly minTokens?: number;
  /** Each piece of `generation.pieces()` comes with its tokens' logprobs and so many alternatives, at most 20. */
  readonly logprobs?: number;
  /** The answer's first token ids, from a generation that ended early: goes on after them, exactly as that would have. */
  readonly generated?: readonly number[];
  /** Who asks: when chats must wait, callers get their turns alike. */
  readonly caller?: string;
  /** Prompts with a common beginning are computed once among equal salts. Default: the caller, so that callers don't share. */
  readonly cacheSalt?: string;
  /** Texts at which the answer ends; they are not part of it. */
  readonly stop?: readonly string[];
  /** What the answer must look like. Only a cut by `maxTokens` leaves it unfinished. What can't be enforced is an `INVALID_ARGUMENT`. */
  readonly responseFormat?: ResponseFormat;
  /** Stops the generation. Default: the request's own, where there is ambient context (Node). In tabs pass `ctx.signal`. */
  readonly signal?: AbortSignal;
}

/** A language model in an engine of this replica's: `await LanguageModel.load(name)`, then `chat` and `complete`. */
export class LanguageModel {
  readonly name: string;
  readonly #model: EngineModel;

  private constructor(name: string, model: EngineModel) {
    this.name = name;
    this.#model = model;
  }

  /**
   * Loads a model by name (of the catalogue, `hf:owner/repository[:file]`, `https://host/x.gguf#sha256=<hash>`, or a path); call it in `init()`. Rejects with `UNAVAILABLE` outside of a replica, and with the host's sentence when the model
   * isn't known or doesn't fit.
   */
  static async load(name: string, options: LoadOptions = {}): Promise<LanguageModel> {
    const host = engineHost(`LanguageModel.load("${name}")`);
    const model = await host.load({
      name,
      device: options.device ?? "auto",
      slotLength: options.slotLength ?? SLOT_LENGTH_DEFAULT,
      slots: options.slots,
    });
    if ("kind" in model) {
      await model.close();
      throw new SkeinError(
        "INVALID_ARGUMENT",
        `"${name}" is no language model: texts become vectors by \`skein/onnx\`, or by the application \`skein/llm:openai\`.`,
      );
    }
    return new LanguageModel(name, model);
  }

  /** "native", "wasm" or "webgpu". */
  get provider(): string {
    return this.#model.provider;
  }
  get slots(): number {
    return this.#model.slots;
  }
  get slotLength(): number {
    return this.#model.slotLength;
  }

  /** Answers a conversation, through the model's own chat template. A prompt that leaves no room is an `INVALID_ARGUMENT` naming both lengths. */
  chat(messages: readonly ChatMessage[], options: GenerateOptions = {}): Generation {
    return this.#generate({ messages }, options);
  }

  /** Goes on from a text as it is. */
  complete(prompt: string, options: GenerateOptions = {}): Generation {
    return this.#generate({ prompt }, options);
  }

  /**
   * Several answers to one conversation or text, each with draws of its own (greedy ones are equal). The prompt is computed once.
   * @param n how many, from 1 to 128
   */
  choices(input: readonly ChatMessage[] | string, n: number, options: GenerateOptions = {}): Generation[] {
    if (!Number.isInteger(n) || n < 1 || n > CHOICES_MAX)
      throw new SkeinError("INVALID_ARGUMENT", `n must be a whole number from 1 to ${CHOICES_MAX}, not ${n}.`);
    return Array.from({ length: n }, (_, choice) =>
      this.#generate(typeof input === "string" ? { prompt: input } : { messages: input }, {
        ...options,
        seed: choiceSeed(options.seed ?? 0, choice),
      }),
    );
  }

  /** What the engine has done and is doing; undefined before it has a model. */
  stats(): Promise<EngineStats | undefined> {
    return this.#model.stats();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#model.close();
  }

  #generate(
    input: { readonly messages: readonly ChatMessage[] } | { readonly prompt: string },
    options: GenerateOptions,
  ): Generation {
    const {
      maxTokens = MAX_TOKENS_DEFAULT,
      minTokens,
      stop,
      logprobs,
      generated,
      caller,
      cacheSalt,
      responseFormat,
      signal = ambientContext()?.signal,
      ...sampling
    } = options;
    const request: GenerateRequest = {
      ...input,
      sampling,
      maxTokens,
      ...(minTokens === undefined ? {} : { minTokens }),
      ...(stop === undefined ? {} : { stop }),
      ...(logprobs === undefined ? {} : { logprobs }),
      ...(generated === undefined ? {} : { generated }),
      ...(caller === undefined ? {} : { caller }),
      ...(cacheSalt === undefined ? {} : { cacheSalt }),
      ...(responseFormat === undefined ? {} : { grammar: grammarOf(responseFormat) }),
      ...(signal === undefined ? {} : { signal }),
    };
    return new Generation(() => this.#model.generate(request));
  }
}
