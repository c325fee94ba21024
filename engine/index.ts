/** The engine's public face. It imports nothing of the mesh; programs talk to it through `EngineClient`. */
export {
  EngineClient,
  type EngineClientOptions,
  EngineDeadError,
  type EngineThread,
  type GenerateRequest,
} from "./client.ts";
export type { EncoderInput } from "./embedder.ts";
export { checkFeeds, checkTensor, describeValue } from "./feeds.ts";
export type { GrammarFormat, TagFormat } from "./grammar/format.ts";
export { EngineGeneration, type GenerationEnd, type GenerationPiece } from "./generation.ts";
export { CHOICES_MAX } from "./limits.ts";
export type { GraphFacts, TextTask } from "./graph-model.ts";
export type { Shapes } from "./graph-sample.ts";
export { choiceSeed } from "./prf.ts";
export { EngineFullError, GrammarError, PromptTooLongError } from "./refusals.ts";
export { GREEDY } from "./sampling.ts";
export type { EngineStats, GraphStats, Histogram } from "./stats.ts";
export {
  arrayOf,
  sizeOf,
  type TensorData,
  type Tensors,
  type TensorType,
  type TensorValue,
  type ValueFacts,
} from "./tensor.ts";
export type {
  ChosenScore,
  EmbeddedTexts,
  GpuFacts,
  LoadedGraph,
  LoadedModel,
  LoadProgress,
  LoadSpec,
  PreparedReference,
  ProbeResult,
  PromptInput,
  PromptScore,
  TextFacts,
  TokenScore,
} from "./thread-messages.ts";
export type { ChatMessage } from "./tokenizer/tokenizer.ts";
export type { FinishReason, ModelConfig, ProviderName, SamplingParameters } from "./types.ts";
