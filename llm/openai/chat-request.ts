/** `/v1/chat/completions`: from the request's body to what is asked of the engine. Pure. */
import * as z from "zod";
import type { ChatMessage, PromptInput } from "../../engine/index.ts";
import { OPENAI_CHOICES_MAX } from "../../protocol/limits.ts";
import type { Ask } from "./choices.ts";
import { ApiError, invalid, unsupported } from "./errors.ts";
import { flag, read, text, whole } from "./fields.ts";
import {
  refuseFields,
  refuseOthers,
  engineOptionsOf,
  samplingFields,
  usageAsked,
  type UsageAsked,
} from "./sampling.ts";
import { grammarAskedBy, responseFormat, structuredFields, type AskedGrammar } from "./structured-output.ts";
import { toolCallParser } from "./tool-call-parser.ts";
import { callsFormat, type Tool, type ToolChoice, type ToolFormat, withToolsAsText } from "./tool-style.ts";

/** Text, or what the assistant said where it refused. */
export const part = z.looseObject({ type: z.string(), text: z.string().optional(), refusal: z.string().optional() });
const content = z.union([z.string(), z.array(part)], "expected a text or a list of content parts").nullish();
const call = z.looseObject({
  id: z.string().optional(),
  function: z.looseObject({ name: z.string().min(1), arguments: z.string() }),
});
const message = z.looseObject({
  role: z.enum(["system", "developer", "user", "assistant", "tool"]),
  content,
  name: text,
  tool_calls: z.array(call).nullish(),
  tool_call_id: text,
  reasoning_content: text,
  reasoning: text,
});
type MessageFields = z.output<typeof message>;

export const toolSchema = z.looseObject({
  type: z.literal("function", "only functions are supported"),
  function: z.looseObject({
    name: z.string().regex(/^[\w.-]{1,64}$/, "expected 1 to 64 letters, digits, underscores, dots or dashes"),
    description: z.string().optional(),
    parameters: z.looseObject({}).nullish(),
  }),
});
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
  documents: "put them into a message.",
};
/** Values of fields that mean nothing else here. */
const FINE = { service_tier: ["auto", "default"], skip_special_tokens: [true], add_generation_prompt: [true] };

/** Throws a 400 that names the field which is wrong or can't be honoured. */
export function readChat(body: unknown, format: ToolFormat, chance: () => number): ChatAsk {
  const fields = read(chatSchema, body);
  refuseFields(fields, ELSEWHERE);
  refuseOthers(fields, FINE);
  const usage = usageAsked(fields);
  if (fields.top_logprobs != null && fields.logprobs !== true)
    throw invalid("top_logprobs", "it is only allowed when 'logprobs' is true.");
  const modalities = fields["modalities"];
  if (Array.isArray(modalities) && modalities.some((modality) => modality !== "text"))
    throw unsupported("modalities", "this server answers in text.");
  const { tools, choice } = callable(fields);
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
    usage,
    timings: fields.timings === true,
    isForced: typeof choice === "object",
  };
}

/** What the engine is given for the conversation of a request that asks for no answer. */
export function readMessages(body: unknown, format: ToolFormat): PromptInput {
  const fields = read(chatSchema, body);
  const { tools, choice } = callable(fields);
  return promptOf(messagesOf(fields.messages), tools, choice, format).input;
}

/** Functions that may be called, and which of them is wanted. */
export interface Callable {
  readonly tools: readonly Tool[];
  readonly choice: ToolChoice | "none";
}

function callable({ tools, tool_choice: given }: z.output<typeof chatSchema>): Callable {
  const known = (tools ?? []) as readonly Tool[];
  if (given == null || typeof given === "string" || given.type === "function")
    return { tools: known, choice: toolChoiceOf(given, known) };
  const { mode, tools: allowed } = given.allowed_tools;
  return {
    tools: toolsNamed(
      known,
      allowed.map((each) => each.function.name),
    ),
    choice: mode,
  };
}

/** Of the functions, those that are allowed: the model sees no others. */
export function toolsNamed(tools: readonly Tool[], names: readonly string[]): readonly Tool[] {
  const missing = names.find((name) => !tools.some((tool) => tool.function.name === name));
  if (missing !== undefined) throw invalid("tool_choice", `there is no function '${missing}' in 'tools'.`);
  return tools.filter((tool) => names.includes(tool.function.name));
}

/** "none" where no function may be called. */
function toolChoiceOf(
  given: "none" | "auto" | "required" | z.output<typeof namedFunction> | null | undefined,
  tools: readonly Tool[],
): ToolChoice | "none" {
  if (given == null) return tools.length === 0 ? "none" : "auto";
  if (given === "none") return "none";
  if (tools.length === 0) {
    if (given === "auto") return "none";
    throw invalid("tool_choice", "it is only allowed when 'tools' are given.");
  }
  if (typeof given === "string") return given;
  const { name } = given.function;
  toolsNamed(tools, [name]);
  return { name };
}

/** What is asked of the engine, and how calls are found in what it answers. */
export interface ChatPrompt {
  readonly input: PromptInput;
  readonly calls?: NonNullable<Ask["calls"]>;
  readonly grammar?: AskedGrammar;
}

/** Of an ask, what a prompt decides. */
export const partsOf = ({ input, calls, grammar }: ChatPrompt): Omit<Ask, "options"> => ({
  input,
  ...(calls === undefined ? {} : { calls }),
  ...(grammar === undefined ? {} : { grammarField: grammar.field }),
});

/** @param wanted whether the answer ends with its first call, and what it must look like where it isn't one */
export function promptOf(
  messages: readonly ChatMessage[],
  tools: readonly Tool[],
  choice: ToolChoice | "none",
  format: ToolFormat,
  { onlyOne = false, answer }: { onlyOne?: boolean; answer?: AskedGrammar | undefined } = {},
): ChatPrompt {
  const shown = choice === "none" ? [] : tools;
  const plain = format.isNative ? messages : withToolsAsText(messages, shown, format.style);
  const answered = answer === undefined ? {} : { grammar: answer };
  if (choice === "none") return { input: { messages: plain }, ...answered };
  const isNamed = typeof choice === "object";
  const meant = isNamed ? tools.filter((tool) => tool.function.name === choice.name) : tools;
  const calls = callsFormat(format.style, meant, onlyOne || isNamed);
  const names = new Set(tools.map((tool) => tool.function.name));
  return {
    input: { messages: plain, ...(format.isNative ? { tools: shown } : {}) },
    calls: { parser: () => toolCallParser(format.style, names), onlyOne: onlyOne || isNamed },
    ...(choice !== "auto"
      ? { grammar: { format: calls, field: "tools" } }
      : answer === undefined
        ? {}
        : { grammar: { ...answer, format: { type: "or", elements: [calls, answer.format] } } }),
  };
}

/** As templates expect them. `developer` is what `system` was called later. */
function messagesOf(messages: readonly MessageFields[]): ChatMessage[] {
  return messages.map((given, at): ChatMessage => {
    const where = `messages[${at}]`;
    if (given.role === "tool" && given.tool_call_id == null)
      throw new ApiError(400, `Missing required parameter: '${where}.tool_call_id'.`, {
        param: `${where}.tool_call_id`,
        code: "missing_required_parameter",
      });
    const calls = given.tool_calls?.map((made, index) => ({
      type: "function",
      ...(made.id === undefined ? {} : { id: made.id }),
      function: {
        name: made.function.name,
        arguments: argumentsOf(made.function.arguments, `${where}.tool_calls[${index}].function.arguments`),
      },
    }));
    if (given.content == null && given.role !== "assistant")
      throw new ApiError(400, `Missing required parameter: '${where}.content'.`, {
        param: `${where}.content`,
        code: "missing_required_parameter",
      });
    const thought = given.reasoning_content ?? given.reasoning;
    return {
      role: given.role === "developer" ? "system" : given.role,
      content: textOf(given.content, where),
      ...(calls === undefined || calls.length === 0 ? {} : { tool_calls: calls }),
      ...(given.tool_call_id == null ? {} : { tool_call_id: given.tool_call_id }),
      ...(given.name == null ? {} : { name: given.name }),
      ...(thought == null ? {} : { reasoning_content: thought }),
    };
  });
}

function textOf(given: MessageFields["content"], where: string): string {
  if (given == null) return "";
  if (typeof given === "string") return given;
  return given
    .map((piece, at) => {
      const said = piece.text ?? piece.refusal;
      if (said !== undefined) return said;
      throw unsupported(`${where}.content[${at}]`, `this model reads text only, not '${piece.type}'.`);
    })
    .join("");
}

/** Templates write arguments as values. Also for histories of other servers, whose calls came as JSON text. */
export function argumentsOf(json: string, where: string): object {
  try {
    const value: unknown = JSON.parse(json === "" ? "{}" : json);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value;
  } catch {
    // Told below, as for any other value.
  }
  throw invalid(where, "expected the JSON text of an object.");
}
