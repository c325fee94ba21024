/** `/v1/chat/completions`: from the request's body to what is asked of the engine. Pure. */
import * as z from "zod";
import type { ChatMessage, PromptInput } from "../../engine/index.ts";
import { OPENAI_CHOICES_MAX } from "../../protocol/limits.ts";
import { argumentsOf, callable, content, partsOf, promptOf, textOf, toolSchema } from "./chat-prompt.ts";
import type { Ask } from "./choices.ts";
import { invalid, missing, unsupported } from "./errors.ts";
import { flag, read, text, whole } from "./fields.ts";
import {
  refuseFields,
  refuseOthers,
  engineOptionsOf,
  idsAsked,
  samplingFields,
  usageAsked,
  type UsageAsked,
} from "./sampling.ts";
import { grammarAskedBy, responseFormat, structuredFields } from "./structured-output.ts";
import type { Tool, ToolFormat } from "./tool-style.ts";

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
  reasoning_content: text,
  reasoning: text,
});
type MessageFields = z.output<typeof message>;

const namedFunction = z.looseObject({ type: z.literal("function"), function: z.looseObject({ name: z.string() }) });
const choiceSchema = z.union(
  [
    z.enum(["none", "auto", "required"]),
    namedFunction,
    z.looseObject({
      type: z.literal("allowed_tools"),
      allowed_tools: z.looseObject({ mode: z.enum(["auto", "required"]), tools: z.array(namedFunction).min(1) }),
    }),
  ],
  'expected "none", "auto", "required", {"type":"function","function":{"name":…}} or {"type":"allowed_tools",…}',
);

const chatSchema = z.looseObject({
  ...samplingFields,
  messages: z.array(message).min(1, "expected at least one message"),
  n: whole(1, OPENAI_CHOICES_MAX),
  max_completion_tokens: whole(1),
  max_tokens: whole(1),
  logprobs: flag,
  top_logprobs: whole(0, 20),
  prompt_logprobs: whole(0, 20),
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
  readonly usage: UsageAsked;
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
  store: "this server keeps no answers.",
  continue_final_message: "a conversation ends with the assistant's turn to speak.",
  chat_template: "the model's own is used.",
  echo: "an answer doesn't say its prompt again.",
  documents: "put them into a message.",
};
/** Values of fields that mean nothing else here. */
const FINE = { service_tier: ["auto", "default"], add_generation_prompt: [true] };

/** Throws a 400 that names the field which is wrong or can't be honoured. */
export function readChat(body: unknown, format: ToolFormat, chance: () => number): ChatAsk {
  const fields = read(chatSchema, body);
  refuseFields(fields, ELSEWHERE);
  refuseOthers(fields, FINE);
  const usage = usageAsked(fields);
  if (fields.top_logprobs != null && fields.logprobs !== true)
    throw invalid("top_logprobs", "it is only allowed when 'logprobs' is true.");
  if (fields.prompt_logprobs != null && fields.stream === true)
    throw invalid("prompt_logprobs", "it is only allowed when 'stream' is false.");
  const modalities = fields["modalities"];
  if (Array.isArray(modalities) && modalities.some((modality) => modality !== "text"))
    throw unsupported("modalities", "this server answers in text.");
  const { tools, choice } = callableOf(fields);
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
  // Once: it is the same prompt.
  const scored = fields.prompt_logprobs == null ? {} : { promptLogprobs: fields.prompt_logprobs };
  const asks = options.map((each, at): Ask => ({
    ...partsOf(prompt),
    ...idsAsked(fields),
    options: at === 0 ? { ...each, ...scored } : each,
  }));
  return {
    asks,
    stream: fields.stream === true,
    usage,
    timings: fields.timings === true,
    isForced: typeof choice === "object",
  };
}

/** What the engine is given for the conversation of a request that asks for no answer. */
export function readMessages(body: unknown, format: ToolFormat): PromptInput {
  const fields = read(chatSchema, body);
  const { tools, choice } = callableOf(fields);
  return promptOf(messagesOf(fields.messages), tools, choice, format).input;
}

function callableOf({ tools, tool_choice: given }: z.output<typeof chatSchema>): ReturnType<typeof callable> {
  const known = (tools ?? []) as readonly Tool[];
  if (given == null || typeof given === "string") return callable(given, known);
  if (given.type === "function") return callable(given.function, known);
  const { mode, tools: allowed } = given.allowed_tools;
  return callable({ mode, allowed: allowed.map((each) => each.function.name) }, known);
}

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
    const thought = given.reasoning_content ?? given.reasoning;
    return {
      role: given.role === "developer" ? "system" : given.role,
      content: textOf(given.content ?? "", `${where}.content`),
      ...(calls === undefined || calls.length === 0 ? {} : { tool_calls: calls }),
      ...(given.tool_call_id == null ? {} : { tool_call_id: given.tool_call_id }),
      ...(given.name == null ? {} : { name: given.name }),
      ...(thought == null ? {} : { reasoning_content: thought }),
    };
  });
}
