/** The engine's public face. It imports nothing of the mesh; programs talk to it through `EngineClient`. */
export {
  EngineClient,
  type EngineClientOptions,
  EngineDeadError,
  type EngineThread,
  type GenerateRequest,
} from "./client.ts";
export type { GrammarFormat, TagFormat } from "./grammar/format.ts";
export { EngineGeneration, type GenerationEnd, type GenerationPiece } from "./generation.ts";
export { CHOICES_MAX } from "./limits.ts";
export { choiceSeed } from "./prf.ts";
export { EngineFullError, GrammarError, PromptTooLongError } from "./refusals.ts";
export { GREEDY } from "./sampler.ts";
export type { EngineStats, Histogram } from "./stats.ts";
export type {
  ChosenScore,
  GpuFacts,
  LoadedModel,
  LoadProgress,
  LoadSpec,
  PreparedReference,
  ProbeResult,
  PromptInput,
  TokenScore,
} from "./thread-messages.ts";
export type { ChatMessage } from "./tokenizer/tokenizer.ts";
export type { FinishReason, ModelConfig, ProviderName, SamplingParameters } from "./types.ts";
