/**
 * What the engine's thread and its client say to each other. Plain structured-cloneable values; order is kept by the port.
 */
import type { EncoderInput } from "./embedder.ts";
import type { GraphFacts, PreparedGraph, TextTask } from "./graph-model.ts";
import type { Shapes } from "./graph-sample.ts";
import type { PreparedModel } from "./prepare.ts";
import { EngineFullError, GrammarError, PromptTooLongError } from "./refusals.ts";
import type { GenerationRequest, Usage } from "./sequence.ts";
import type { EngineStats, GraphStats } from "./stats.ts";
import type { Tensors } from "./tensor.ts";
import type { ChatMessage, ChatPromptOptions } from "./tokenizer/tokenizer.ts";
import type { FinishReason, ModelConfig, ProviderName } from "./types.ts";

/** Which provider a model runs on, and with how much room. */
export interface LoadSpec {
  /** The model in the form of each provider that may run it: "auto" takes the best of those given. */
  readonly prepared: Readonly<Partial<Record<ProviderName, PreparedReference>>>;
  readonly provider: ProviderName | "auto";
  /** Threads that `native` and `wasm` compute with. */
  readonly threads: number;
  /** Sequences that run at once. */
  readonly slots: number;
  /** Tokens of prompt and answer together. */
  readonly slotLength: number;
  /** Bytes that are free for weights, keys and values: where so many slots don't fit, there are fewer. Left out: as many as said. */
  readonly memory?: number;
  /** Take a software adapter (SwiftShader) for a GPU. */
  readonly allowSoftwareGpu?: boolean;
  /** Of a graph: shapes of its inputs, to be run before it serves. */
  readonly warmUp?: readonly Shapes[];
}

/** A directory of the cache (Node), or the model itself (tabs; its weights must be a `Uint8Array` to cross into the thread). */
export type PreparedReference = { readonly directory: string } | { readonly model: PreparedModel | PreparedGraph };

export interface GpuFacts {
  readonly vendor: string;
  readonly architecture: string;
  readonly description: string;
  /** Computed by the CPU: not a GPU unless the user says so. */
  readonly isSoftware: boolean;
}

/** What this machine can run models with. */
export interface ProbeResult {
  /** Best first. A software adapter counts only where it was allowed. */
  readonly providers: readonly ProviderName[];
  readonly gpu: GpuFacts | undefined;
  /** Why a provider is missing. */
  readonly reasons: Readonly<Partial<Record<ProviderName, string>>>;
}

export interface LoadedModel {
  readonly provider: ProviderName | "reference";
  readonly config: ModelConfig;
  readonly slots: number;
  readonly slotLength: number;
  /** Source of the model's chat template: tells how it calls tools. */
  readonly chatTemplate: string | undefined;
  /** Why a better provider was passed over, and other things worth a line in the log. */
  readonly notes: readonly string[];
}

/** A graph that isn't one of our decoders: an encoder, or an ONNX file. */
export interface LoadedGraph extends GraphFacts {
  readonly kind: "graph";
  readonly provider: ProviderName;
  readonly notes: readonly string[];
  /** Nodes that run on the CPU although the provider is a GPU, as `operator (name)`. */
  readonly cpuNodes: readonly string[];
  /** Undefined where it takes no texts. */
  readonly text: TextFacts | undefined;
}

export interface TextFacts {
  readonly task: TextTask;
  /** Tokens of a text, with those that are put around it. */
  readonly maxTokens: number;
  readonly labels: readonly string[];
  readonly isMultiLabel: boolean;
}

export interface EmbeddedTexts {
  /** One row for each input, in order. */
  readonly vectors: readonly Float32Array[];
  readonly tokens: number;
}

export interface LoadProgress {
  /** Such as "reading", "session", "self-test", "tokenizer". */
  readonly stage: string;
}

export type PromptInput =
  | ({ readonly messages: readonly ChatMessage[] } & ChatPromptOptions)
  | { readonly prompt: string }
  | { readonly promptTokens: readonly number[] };

/** A request but for its prompt, which is tokenised in the thread. */
export type GenerateOptions = Omit<GenerationRequest, "promptTokens">;

/** A token's logprob with what the token says: `bytes` may be part of a character, of which `text` then has U+FFFD. */
export interface TokenScore {
  readonly token: number;
  readonly text: string;
  readonly bytes: Uint8Array;
  /** In nats, by the model itself: before bias, penalties, temperature and filters. */
  readonly logprob: number;
}

/** Of a chosen token; `top` are the best ones there, best first. */
export interface ChosenScore extends TokenScore {
  readonly top: readonly TokenScore[];
}

/** Of a prompt's token. */
export interface PromptScore extends ChosenScore {
  /** Its place among all tokens there: 1 for the likeliest. */
  readonly rank: number;
}

export interface ErrorValue {
  readonly name: string;
  readonly message: string;
}

export type ToEngine =
  | { readonly type: "probe"; readonly allowSoftwareGpu: boolean }
  | { readonly type: "load"; readonly spec: LoadSpec }
  | ({ readonly type: "generate"; readonly id: number; readonly input: PromptInput } & GenerateOptions)
  | { readonly type: "tokenize"; readonly id: number; readonly input: PromptInput }
  | { readonly type: "detokenize"; readonly id: number; readonly tokens: readonly number[] }
  | {
      readonly type: "embed";
      readonly id: number;
      readonly inputs: readonly EncoderInput[];
      readonly truncates: boolean;
    }
  | { readonly type: "run"; readonly id: number; readonly feeds: Tensors }
  | { readonly type: "acknowledge"; readonly id: number; readonly tokens: number }
  | { readonly type: "cancel"; readonly id: number }
  | { readonly type: "stats"; readonly id: number }
  | { readonly type: "close" };

export interface OutputItem {
  readonly id: number;
  readonly text: string;
  readonly tokens: readonly number[];
  /** One for each token, where asked for. */
  readonly logprobs?: readonly ChosenScore[];
  /** With the first item, where asked for: of the prompt's tokens but the first. */
  readonly promptLogprobs?: readonly PromptScore[];
  /** With the last item of a generation. */
  readonly end: (Usage & { readonly finishReason: FinishReason; readonly stoppedBy?: string | number }) | undefined;
}

export type FromEngine =
  | { readonly type: "ready" }
  | { readonly type: "probed"; readonly result: ProbeResult }
  | { readonly type: "loading"; readonly progress: LoadProgress }
  | { readonly type: "loaded"; readonly model: LoadedModel | LoadedGraph }
  /** Answers "probe" or "load". */
  | { readonly type: "failed"; readonly error: ErrorValue }
  | { readonly type: "started"; readonly id: number; readonly promptTokens: readonly number[] }
  | { readonly type: "tokenized"; readonly id: number; readonly tokens: readonly number[] }
  | { readonly type: "detokenized"; readonly id: number; readonly text: string }
  | { readonly type: "embedded"; readonly id: number; readonly texts: EmbeddedTexts }
  | { readonly type: "ran"; readonly id: number; readonly outputs: Tensors }
  /** Answers whatever has an id. */
  | { readonly type: "refused"; readonly id: number; readonly error: ErrorValue }
  /** One step of the model, or one run of a graph; sent for each, so that silence means trouble. */
  | { readonly type: "step"; readonly items: readonly OutputItem[] }
  /** Undefined before a model is loaded. */
  | { readonly type: "stats"; readonly id: number; readonly stats: EngineStats | GraphStats | undefined }
  /** The model is broken; the thread serves nothing any more. */
  | { readonly type: "broken"; readonly reason: string }
  | { readonly type: "closed" };

export function errorValue(error: unknown): ErrorValue {
  return error instanceof Error
    ? { name: error.name, message: error.message }
    : { name: "Error", message: String(error) };
}

/** An Error again, of the built-in class where the name is one that callers tell apart. */
export function toError({ name, message }: ErrorValue): Error {
  if (name === "RangeError") return new RangeError(message);
  if (name === "PromptTooLongError") return new PromptTooLongError(message);
  if (name === "GrammarError") return new GrammarError(message);
  if (name === "EngineFullError") return new EngineFullError(message);
  const error = new Error(message);
  error.name = name;
  return error;
}
