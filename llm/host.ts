/**
 * What `LanguageModel` needs of the process it runs in: an engine in a thread of its own, and somebody who knows where models are.
 * The replica's shell sets it in the runtime registry before user code is imported; tests set a fake.
 */
import type {
  EmbeddedTexts,
  EncoderInput,
  EngineGeneration,
  EngineStats,
  GraphStats,
  GenerateRequest,
  GenerationPiece,
  GraphFacts,
  PromptInput,
  Shapes,
  Tensors,
  TextFacts,
} from "../engine/index.ts";
import { SkeinError } from "../protocol/errors.ts";
import { runtime } from "../serve/runtime.ts";

/** What a model runs on; `auto`: the best that there is. */
export type Device = "auto" | "webgpu" | "native" | "wasm";

export interface ModelRequest {
  readonly name: string;
  readonly device: Device;
  /** Tokens of prompt and answer together, per chat. */
  readonly slotLength: number;
  /** Chats at a time; undefined: the host's choice from its memory. */
  readonly slots: number | undefined;
  /** Of a graph: shapes of its inputs, to be run before it serves; a GPU must agree with a CPU on them. */
  readonly warmUp?: readonly Shapes[];
}

/** What user code sees of a generation in the engine; the engine's own class in production. */
export type EngineOutput = Pick<EngineGeneration, "end" | "promptTokens" | "cancel"> & AsyncIterable<GenerationPiece>;

export interface EngineModel {
  readonly provider: string;
  readonly slots: number;
  readonly slotLength: number;
  /** Source of its chat template; undefined: it has none. */
  readonly chatTemplate: string | undefined;
  /** Hash of its file, in hexadecimal; undefined where it isn't known. */
  readonly weights?: string | undefined;
  generate(request: GenerateRequest): EngineOutput;
  /** Undefined before anything was asked of it. */
  stats(): Promise<EngineStats | undefined>;
  /** The ids that `generate` would take for this input. */
  tokenize(input: PromptInput): Promise<readonly number[]>;
  detokenize(tokens: readonly number[]): Promise<string>;
  close(): Promise<void>;
}

/** A graph that is no language model: an encoder, or an ONNX file. */
export interface EngineGraph extends GraphFacts {
  readonly kind: "graph";
  readonly provider: string;
  /** Nodes that run on the CPU although the provider is a GPU. */
  readonly cpuNodes: readonly string[];
  /** Undefined where it takes no texts. */
  readonly text: TextFacts | undefined;
  /** A row of numbers for each text, or list of ids: the engine puts calls together. */
  embed(
    inputs: readonly EncoderInput[],
    options?: { readonly truncates?: boolean; readonly signal?: AbortSignal },
  ): Promise<EmbeddedTexts>;
  run(feeds: Tensors, signal?: AbortSignal): Promise<Tensors>;
  /** Undefined where the engine is gone. */
  stats(): Promise<GraphStats | undefined>;
  /** The ids of a text, with those that are put around it. */
  tokenize(input: PromptInput): Promise<readonly number[]>;
  detokenize(tokens: readonly number[]): Promise<string>;
  close(): Promise<void>;
}

export interface EngineHost {
  /** Rejects with one sentence that says what is missing and what to do. */
  load(request: ModelRequest): Promise<EngineModel | EngineGraph>;
}

declare module "../serve/runtime.ts" {
  interface Runtime {
    engine?: EngineHost;
  }
}

/** The host of this process. Throws `UNAVAILABLE` outside of a replica. `call`: what the caller wrote, for the message. */
export function engineHost(call: string): EngineHost {
  const host = runtime().engine;
  if (host === undefined)
    throw new SkeinError("UNAVAILABLE", `${call} runs inside a replica: start the application with \`skein run\`.`);
  return host;
}
