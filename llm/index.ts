/** What user code imports as `skein/llm`. */
export { Generation, type FinishReason, type Usage } from "./generation.ts";
export {
  LanguageModel,
  MAX_TOKENS_DEFAULT,
  SLOT_LENGTH_DEFAULT,
  type GenerateOptions,
  type LoadOptions,
} from "./language-model.ts";
export type { ChatMessage } from "../engine/index.ts";
export type { Device } from "./host.ts";
