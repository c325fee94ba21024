/** `/tokenize` and `/detokenize`, in vLLM's form. */
import * as z from "zod";
import type { PromptInput } from "../../engine/index.ts";
import type { EngineModel } from "../host.ts";
import { jsonHead, type Answer } from "./answer.ts";
import { readMessages } from "./chat-request.ts";
import { tokenIds } from "./completions.ts";
import { ApiError, unsupported } from "./errors.ts";
import { read, text } from "./fields.ts";
import { refuseFields, refuseOthers } from "./sampling.ts";
import { templateValues } from "./thinking.ts";
import type { ToolFormat } from "./tool-style.ts";

const tokenizeSchema = z.looseObject({ model: text, prompt: text });
const detokenizeSchema = z.looseObject({ model: text, tokens: z.union([tokenIds, z.tuple([])], "expected token ids") });

const NOT_HERE = {
  return_token_strs: "ask /detokenize what ids say.",
  continue_final_message: "a conversation ends with the assistant's turn to speak.",
};

type Texts = Pick<EngineModel, "tokenize" | "detokenize">;

/** The ids of `prompt`, or of the prompt that `messages` become. `chats` undefined: the model answers none. */
export async function* tokenize(
  model: Texts,
  body: unknown,
  chats: { readonly format: ToolFormat; readonly template: string } | undefined,
  maxLength: number,
): Answer {
  const { prompt, messages, ...others } = read(tokenizeSchema, body);
  refuseFields(others, NOT_HERE);
  refuseOthers(others, { add_special_tokens: [prompt != null], add_generation_prompt: [true] });
  if (prompt == null && chats === undefined && messages !== undefined)
    throw unsupported("messages", "this model makes embeddings; name a prompt.");
  if (prompt == null && messages === undefined)
    throw new ApiError(400, "Missing required parameter: 'prompt' or 'messages'.", {
      param: "prompt",
      code: "missing_required_parameter",
    });
  const tokens = await model.tokenize(prompt == null ? conversationOf(body, chats!) : { prompt });
  yield jsonHead();
  yield JSON.stringify({ count: tokens.length, max_model_len: maxLength, tokens, token_strs: null });
}

function conversationOf(body: unknown, { format, template }: { format: ToolFormat; template: string }): PromptInput {
  const input = readMessages(body, format);
  const values = templateValues(body, template);
  return values === undefined ? input : { ...input, values };
}

export async function* detokenize(model: Texts, body: unknown): Answer {
  const prompt = await model.detokenize(read(detokenizeSchema, body).tokens);
  yield jsonHead();
  yield JSON.stringify({ prompt });
}
