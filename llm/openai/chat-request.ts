/** `/v1/chat/completions`: from the request's body to what is asked of the engine. Pure. */
import * as z from "zod";
import type { ChatMessage, PromptInput } from "../../engine/index.ts";
import { OPENAI_CHOICES_MAX } from "../../protocol/limits.ts";
import { argumentsOf, content, partsOf, promptOf, textOf, toolChoiceOf, toolSchema } from "./chat-prompt.ts";
import type { Ask } from "./choices.ts";
import { invalid, missing, unsupported } from "./errors.ts";
import { flag, read, text, whole } from "./fields.ts";
import { refuseFields, engineOptionsOf, samplingFields, wantsUsage } from "./sampling.ts";
import { grammarAskedBy, responseFormat, structuredFields } from "./structured-output.ts";
import type { Tool, ToolChoice, ToolFormat } from "./tool-style.ts";

const call = z.looseObject({
  id: z.string().optional(),
  function: z.looseObject({ name: z.string().min(1), arguments: z.string() }),
});
const message = z.looseObject({
  role: z.enum(["system", "developer", "user", "assistant", "tool"]),
  content: content.nullish(),
  name: text,
  tool_calls: z.array(call).nullish(),
  tool_call_id: text,
});
type MessageFields = z.output<typeof message>;

const choiceSchema = z.union(
  [
    z.enum(["none", "auto", "required"]),
    z.looseObject({ type: z.literal("function"), function: z.looseObject({ name: z.string() }) }),
  ],
  'expected "none", "auto", "required" or {"type":"function","function":{"name":…}}',
);

const chatSchema = z.looseObject({
  ...samplingFields,
  messages: z.array(message).min(1, "expected at least one message"),
  n: whole(1, OPENAI_CHOICES_MAX),
  max_completion_tokens: whole(1),
  max_tokens: whole(1),
  logprobs: flag,
  top_logprobs: whole(0, 20),
  response_format: responseFormat,
  ...structuredFields,
  tools: z.array(toolSchema).nullish(),
  tool_choice: choiceSchema.nullish(),
  parallel_tool_calls: flag,
});

/** What a chat's answer is made of, whatever API asks for it. */
export interface ChatAsk {
  readonly asks: readonly Ask[];
  readonly stream: boolean;
  /** One more chunk with the counts at the end of a stream. */
  readonly includeUsage: boolean;
  readonly timings: boolean;
  /** A certain function had to be called: OpenAI ends such an answer with "stop". */
  readonly isForced: boolean;
}

const ELSEWHERE = {
  functions: "it was replaced by 'tools'.",
  function_call: "it was replaced by 'tool_choice'.",
  audio: "this server answers in text.",
  prediction: "this server doesn't take predictions.",
  web_search_options: "this server doesn't search the web.",
};

/** Throws a 400 that names the field which is wrong or can't be honoured. */
export function readChat(body: unknown, format: ToolFormat, chance: () => number): ChatAsk {
  const fields = read(chatSchema, body);
  refuseFields(fields, ELSEWHERE);
  const includeUsage = wantsUsage(fields);
  if (fields.top_logprobs != null && fields.logprobs !== true)
    throw invalid("top_logprobs", "it is only allowed when 'logprobs' is true.");
  const modalities = fields["modalities"];
  if (Array.isArray(modalities) && modalities.some((modality) => modality !== "text"))
    throw unsupported("modalities", "this server answers in text.");
  const tools = (fields.tools ?? []) as readonly Tool[];
  const choice = toolChoiceOf(nameOf(fields.tool_choice), tools);
  const prompt = promptOf(messagesOf(fields.messages), tools, choice, format, {
    onlyOne: fields.parallel_tool_calls === false,
    answer: grammarAskedBy(fields),
  });
  const options = engineOptionsOf(
    fields,
    {
      answers: fields.n ?? 1,
      maxTokens: fields.max_completion_tokens ?? fields.max_tokens ?? undefined,
      logprobs: fields.logprobs === true ? (fields.top_logprobs ?? 0) : undefined,
      grammar: prompt.grammar?.format,
    },
    chance,
  );
  const asks = options.map((each): Ask => ({ ...partsOf(prompt), options: each }));
  return {
    asks,
    stream: fields.stream === true,
    includeUsage,
    timings: fields.timings === true,
    isForced: typeof choice === "object",
  };
}

/** What the engine is given for the conversation of a request that asks for no answer. */
export function readMessages(body: unknown, format: ToolFormat): PromptInput {
  const { messages, tools, tool_choice: choice } = read(chatSchema, body);
  const known = (tools ?? []) as readonly Tool[];
  return promptOf(messagesOf(messages), known, toolChoiceOf(nameOf(choice), known), format).input;
}

/** Here a function's name is in an object of its own. */
const nameOf = (given: z.output<typeof choiceSchema> | null | undefined): "none" | ToolChoice | null | undefined =>
  typeof given === "object" && given !== null ? given.function : given;

/** As templates expect them. `developer` is what `system` was called later. */
function messagesOf(messages: readonly MessageFields[]): ChatMessage[] {
  return messages.map((given, at): ChatMessage => {
    const where = `messages[${at}]`;
    if (given.role === "tool" && given.tool_call_id == null) throw missing(`${where}.tool_call_id`);
    const calls = given.tool_calls?.map((made, index) => ({
      type: "function",
      ...(made.id === undefined ? {} : { id: made.id }),
      function: {
        name: made.function.name,
        arguments: argumentsOf(made.function.arguments, `${where}.tool_calls[${index}].function.arguments`),
      },
    }));
    if (given.content == null && given.role !== "assistant") throw missing(`${where}.content`);
    return {
      role: given.role === "developer" ? "system" : given.role,
      content: textOf(given.content ?? "", `${where}.content`),
      ...(calls === undefined || calls.length === 0 ? {} : { tool_calls: calls }),
      ...(given.tool_call_id == null ? {} : { tool_call_id: given.tool_call_id }),
      ...(given.name == null ? {} : { name: given.name }),
    };
  });
}
