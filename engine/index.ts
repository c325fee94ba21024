/** The engine's public face. It imports nothing of the mesh; programs talk to it through `EngineClient`. */
export {
  EngineClient,
  type EngineClientOptions,
  EngineDeadError,
  type EngineThread,
  type GenerateRequest,
} from "./client.ts";
export { EngineGeneration, type GenerationEnd, type GenerationPiece } from "./generation.ts";
export { PromptTooLongError } from "./prompt-too-long.ts";
export { GREEDY } from "./sampler.ts";
export type {
  GpuFacts,
  LoadedModel,
  LoadProgress,
  LoadSpec,
  PreparedReference,
  ProbeResult,
  PromptInput,
} from "./thread-messages.ts";
export type { ChatMessage } from "./tokenizer/tokenizer.ts";
export type { FinishReason, ModelConfig, ProviderName, SamplingParameters } from "./types.ts";
