/** What user code imports as `skein/llm`. */
import type { Application } from "../serve/deployment.ts";
import type { OpenAIArgs } from "./openai/application.ts";

export { Generation, type FinishReason, type Usage } from "./generation.ts";
export {
  LanguageModel,
  MAX_TOKENS_DEFAULT,
  SLOT_LENGTH_DEFAULT,
  type GenerateOptions,
  type LoadOptions,
} from "./language-model.ts";
export type { ChatMessage } from "../engine/index.ts";
export type { ResponseFormat } from "./response-format.ts";
export type { Device } from "./host.ts";
export type { OpenAIArgs } from "./openai/application.ts";

/**
 * The OpenAI API as an application, for `import_path: skein/llm:openai`. Loaded when it is used: replicas of other applications need none of it.
 * Rejects with `INVALID_ARGUMENT` where the arguments make no sense.
 */
export async function openai(args: OpenAIArgs): Promise<Application> {
  return (await import("./openai/application.ts")).openaiApplication(args);
}
