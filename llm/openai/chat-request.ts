/** `/v1/chat/completions`: from the request's body to what is asked of the engine. Pure. */
import * as z from "zod";
import type { ChatMessage, PromptInput } from "../../engine/index.ts";
import { OPENAI_CHOICES_MAX } from "../../protocol/limits.ts";
import { callsFormat, heldCallsFormat } from "./call-format.ts";
import type { Ask } from "./choices.ts";
import { ApiError, invalid, unsupported } from "./errors.ts";
import { flag, read, text, whole } from "./fields.ts";
import { refuseFields, engineOptionsOf, samplingFields, wantsUsage } from "./sampling.ts";
import { grammarAskedBy, responseFormat, structuredFields, type AskedGrammar } from "./structured-output.ts";
import { toolCallParser } from "./tool-call-parser.ts";
import { type Tool, type ToolChoice, type ToolFormat, withToolsAsText } from "./tool-style.ts";

const part = z.looseObject({ type: z.string(), text: z.string().optional() });
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
});
type MessageFields = z.output<typeof message>;

export const toolSchema = z.looseObject({
  type: z.literal("function", "only functions are supported"),
  function: z.looseObject({
    name: z.string().regex(/^[\w.-]{1,64}$/, "expected 1 to 64 letters, digits, underscores, dots or dashes"),
    description: z.string().optional(),
    parameters: z.looseObject({}).nullish(),
    strict: flag,
  }),
});
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
  const choice = toolChoiceOf(fields.tool_choice, tools);
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
  return promptOf(messagesOf(messages), known, toolChoiceOf(choice, known), format).input;
}

/** "none" where no function may be called. */
function toolChoiceOf(
  given: z.output<typeof choiceSchema> | null | undefined,
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
  if (!tools.some((tool) => tool.function.name === name))
    throw invalid("tool_choice", `there is no function '${name}' in 'tools'.`);
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
  const ends = onlyOne || isNamed;
  const calls = callsFormat(format.style, meant, ends);
  const names = new Set(tools.map((tool) => tool.function.name));
  const grammar =
    choice !== "auto"
      ? { format: calls, field: "tools" }
      : answer !== undefined
        ? { ...answer, format: { type: "or", elements: [calls, answer.format] } as const }
        : tools.some((tool) => tool.function.strict === true)
          ? { format: heldCallsFormat(format.style, tools, ends), field: "tools" }
          : undefined;
  return {
    input: { messages: plain, ...(format.isNative ? { tools: shown } : {}) },
    calls: { parser: () => toolCallParser(format.style, names), onlyOne: ends },
    ...(grammar === undefined ? {} : { grammar }),
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
    return {
      role: given.role === "developer" ? "system" : given.role,
      content: textOf(given.content, where),
      ...(calls === undefined || calls.length === 0 ? {} : { tool_calls: calls }),
      ...(given.tool_call_id == null ? {} : { tool_call_id: given.tool_call_id }),
      ...(given.name == null ? {} : { name: given.name }),
    };
  });
}

function textOf(given: MessageFields["content"], where: string): string {
  if (given == null) return "";
  if (typeof given === "string") return given;
  return given
    .map((piece, at) => {
      if (typeof piece.text === "string") return piece.text;
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
