/** The deployment of one model: answers every endpoint that needs the model, in OpenAI's form, to whoever has a handle of it. */
import { OPENAI_KEEP_ALIVE_MS } from "../../protocol/limits.ts";
import { SkeinError } from "../../protocol/errors.ts";
import type { Context } from "../../serve/context.ts";
import { runtime } from "../../serve/runtime.ts";
import type { Device, EngineGraph, EngineModel } from "../host.ts";
import { jsonHead, withErrors, type Answer } from "./answer.ts";
import { streamedChat, wholeChat, type ReplyFacts } from "./chat-reply.ts";
import { readChat } from "./chat-request.ts";
import { Choices, newId, type Surroundings } from "./choices.ts";
import { readCompletion, streamedCompletion, wholeCompletion, type CompletionAsk, type Echo } from "./completions.ts";
import { embeddings } from "./embeddings.ts";
import { errorFormOf } from "./error-form.ts";
import { ApiError } from "./errors.ts";
import { keptAlive } from "./keep-alive.ts";
import { PING, streamedMessage, wholeMessage } from "./message-reply.ts";
import { readMessage, readMessageInput } from "./message-request.ts";
import { rerank, score } from "./relevance.ts";
import { streamedResponse, wholeResponse } from "./response-reply.ts";
import { readResponse } from "./response-request.ts";
import { REAL } from "./surroundings.ts";
import { detokenize, tokenize } from "./tokens.ts";
import { templateValues, withThinking } from "./thinking.ts";
import { toolFormatOf, type ToolFormat } from "./tool-style.ts";

/** The endpoints that a model answers, with the field that holds its prompt. */
export const ENDPOINTS = {
  "chat/completions": "messages",
  completions: "prompt",
  responses: "input",
  messages: "messages",
  "messages/count_tokens": "messages",
  embeddings: "input",
  rerank: "documents",
  score: "text_2",
  tokenize: "prompt",
  detokenize: "tokens",
} as const;
export type Endpoint = keyof typeof ENDPOINTS;

/** How failures of an endpoint are told. */
export const factsOf = (endpoint: Endpoint) => ({ prompt: ENDPOINTS[endpoint], errors: errorFormOf(endpoint) });

export interface ModelSettings {
  /** How clients name it. */
  readonly id: string;
  /** How workers find it: a name of the catalogue or the hub, a URL, or a path. */
  readonly source: string;
  readonly device: Device;
  readonly slotLength: number;
  /** null: from the worker's memory. */
  readonly slots: number | null;
}

/** What a model says of itself once it is loaded. */
export interface ModelCard {
  /** Seconds since 1970. */
  readonly created: number;
  /** Tokens of prompt and answer together. */
  readonly maxLength: number;
}

export class ModelServer {
  readonly #settings: ModelSettings;
  readonly #surroundings: Surroundings;
  /** One of both. */
  #model!: EngineModel;
  #encoder: EngineGraph | undefined;
  #format!: ToolFormat;
  #created = 0;

  constructor(settings: ModelSettings, surroundings: Surroundings = REAL) {
    this.#settings = settings;
    this.#surroundings = surroundings;
  }

  /** Loads the model; the replica is ready when it is. */
  async init(): Promise<void> {
    const host = runtime().engine;
    if (host === undefined)
      throw new SkeinError(
        "UNAVAILABLE",
        "A model is served inside a replica: start the application with `skein run`.",
      );
    const { source: name, device, slotLength, slots } = this.#settings;
    const loaded = await host.load({ name, device, slotLength, slots: slots ?? undefined });
    this.#created = this.#seconds();
    if (!("kind" in loaded)) {
      this.#model = loaded;
      this.#format = toolFormatOf(this.#template);
      return;
    }
    this.#encoder = loaded;
    if (loaded.text?.task !== "embedding")
      throw new SkeinError(
        "INVALID_ARGUMENT",
        `The model "${name}" neither answers chats nor makes embeddings: serve it with \`skein/onnx:app\`.`,
      );
  }

  /** Answered once the model is loaded, and not before. */
  describe(): ModelCard {
    return { created: this.#created, maxLength: this.#encoder?.text?.maxTokens ?? this.#model.slotLength };
  }

  /** The answer to a request's body. What goes wrong is told in it. */
  answer(endpoint: Endpoint, body: unknown, ctx: Context): Answer {
    return this.respond(endpoint, body, ctx.requestId, ctx.signal);
  }

  /** The same, for who calls it off himself. */
  respond(endpoint: Endpoint, body: unknown, requestId: string, signal: AbortSignal): Answer {
    const told = withErrors(this.#answer(endpoint, body, signal), requestId, factsOf(endpoint), (error) =>
      console.error(`Request ${requestId} failed:`, error),
    );
    const comment = endpoint === "messages" ? PING : undefined;
    return keptAlive(told, OPENAI_KEEP_ALIVE_MS, this.#surroundings, comment);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await (this.#encoder ?? (this.#model as EngineModel | undefined))?.close();
  }

  #answer(endpoint: Endpoint, body: unknown, signal: AbortSignal): Answer {
    const encoder = this.#encoder;
    if (encoder !== undefined) return this.#encoded(encoder, endpoint, body, signal);
    switch (endpoint) {
      case "chat/completions":
        return this.#chat(body, signal);
      case "completions":
        return this.#completion(body, signal);
      case "responses":
        return this.#response(body, signal);
      case "messages":
        return this.#message(body, signal);
      case "messages/count_tokens":
        return this.#messageLength(body);
      case "embeddings":
        return embeddings(body, this.#settings.id, undefined, signal);
      case "rerank":
        return rerank(body, this.#served(signal));
      case "score":
        return score(body, this.#served(signal));
      case "tokenize":
        return tokenize(this.#model, body, { format: this.#format, template: this.#template }, this.#model.slotLength);
      case "detokenize":
        return detokenize(this.#model, body);
    }
  }

  /** What a model that makes embeddings answers. */
  async *#encoded(encoder: EngineGraph, endpoint: Endpoint, body: unknown, signal: AbortSignal): Answer {
    switch (endpoint) {
      case "embeddings":
        return yield* embeddings(body, this.#settings.id, encoder, signal);
      case "rerank":
        return yield* rerank(body, this.#served(signal));
      case "score":
        return yield* score(body, this.#served(signal));
      case "tokenize":
        return yield* tokenize(encoder, body, undefined, encoder.text!.maxTokens);
      case "detokenize":
        return yield* detokenize(encoder, body);
      default:
        throw new ApiError(
          501,
          `The model '${this.#settings.id}' makes embeddings and answers no prompts: name one that does.`,
          { param: "model", code: "unsupported_model" },
        );
    }
  }

  #served(signal: AbortSignal) {
    return { model: this.#settings.id, embedder: this.#encoder, signal, surroundings: this.#surroundings };
  }

  async *#chat(body: unknown, signal: AbortSignal): Answer {
    const ask = readChat(body, this.#format, this.#surroundings.random);
    const asks = withThinking(ask.asks, body, this.#template);
    const choices = await Choices.start(this.#model, asks, asks.length, this.#surroundings, signal);
    yield* (ask.stream ? streamedChat : wholeChat)(choices, ask, this.#facts("chatcmpl-"));
  }

  async *#completion(body: unknown, signal: AbortSignal): Answer {
    const ask = readCompletion(body, this.#surroundings.random);
    const choices = await Choices.start(this.#model, ask.asks, ask.answersPerPrompt, this.#surroundings, signal);
    const echoes = await this.#echoes(ask, choices);
    yield* (ask.stream ? streamedCompletion : wholeCompletion)(choices, ask, this.#facts("cmpl-"), echoes);
  }

  async *#response(body: unknown, signal: AbortSignal): Answer {
    const ask = readResponse(body, this.#format, this.#surroundings.random);
    const asks = withThinking([ask.ask], body, this.#template);
    const choices = await Choices.start(this.#model, asks, 1, this.#surroundings, signal);
    yield* (ask.stream ? streamedResponse : wholeResponse)(choices, ask, this.#facts("resp_"), this.#surroundings);
  }

  async *#message(body: unknown, signal: AbortSignal): Answer {
    const ask = readMessage(body, this.#format, this.#surroundings.random);
    const asks = withThinking([ask.ask], ask.thinking, this.#template);
    const choices = await Choices.start(this.#model, asks, 1, this.#surroundings, signal);
    yield* (ask.stream ? streamedMessage : wholeMessage)(choices, this.#facts("msg_"));
  }

  async *#messageLength(body: unknown): Answer {
    const { input, thinking } = readMessageInput(body, this.#format);
    const values = templateValues(thinking, this.#template);
    const tokens = await this.#model.tokenize(values === undefined ? input : { ...input, values });
    yield jsonHead();
    yield JSON.stringify({ input_tokens: tokens.length });
  }

  async #echoes({ echoed, answersPerPrompt }: CompletionAsk, choices: Choices): Promise<readonly Echo[]> {
    const echoes = await Promise.all(
      echoed.map(async (prompt, at) => ({
        text: typeof prompt === "string" ? prompt : await this.#model.detokenize(prompt),
        first: await this.#model.detokenize(choices.promptOf(at * answersPerPrompt).slice(0, 1)),
      })),
    );
    return echoes.flatMap((echo) => new Array<Echo>(answersPerPrompt).fill(echo));
  }

  #facts(prefix: string): ReplyFacts {
    return {
      id: newId(prefix, this.#surroundings),
      created: this.#seconds(),
      model: this.#settings.id,
      fingerprint: ["fp_skein", this.#model.provider, this.#model.weights?.slice(0, 12)].filter(Boolean).join("_"),
    };
  }

  /** Of its chats; "" where it has none. */
  get #template(): string {
    return this.#model.chatTemplate ?? "";
  }

  #seconds(): number {
    return Math.floor(this.#surroundings.now() / 1_000);
  }
}
