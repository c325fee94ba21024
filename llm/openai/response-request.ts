/** `/v1/responses` without state: from the request's body to what is asked of the engine. Pure. */
import * as z from "zod";
import type { ChatMessage } from "../../engine/index.ts";
import type { Ask } from "./choices.ts";
import { argumentsOf, callable, content, partsOf, promptOf, textOf, toolSchema } from "./chat-prompt.ts";
import { invalid, missing, unsupported } from "./errors.ts";
import { flag, read, text, whole } from "./fields.ts";
import {
  engineOptionsOf,
  idsAsked,
  refuseFields,
  refuseOthers,
  samplingFields,
  type EngineOptions,
} from "./sampling.ts";
import { textFormat, textFormatAsked } from "./structured-output.ts";
import type { Tool, ToolFormat } from "./tool-style.ts";

const item = z.looseObject({
  type: z.string().nullish(),
  role: z.enum(["system", "developer", "user", "assistant"]).optional(),
  content: content.nullish(),
  call_id: z.string().optional(),
  name: z.string().optional(),
  arguments: z.string().optional(),
  output: content.nullish(),
});
const namedFunction = z.looseObject({ type: z.literal("function"), name: z.string() });
type Item = z.output<typeof item>;

const responseSchema = z.looseObject({
  ...samplingFields,
  input: z.union([z.string(), z.array(item).min(1)], "expected a text or a list of items"),
  instructions: text,
  max_output_tokens: whole(1),
  parallel_tool_calls: flag,
  top_logprobs: whole(0, 20),
  include: z.array(z.string()).nullish(),
  /** Of tools that the server runs itself: here are none. */
  max_tool_calls: whole(1),
  metadata: z.record(z.string(), z.unknown()).nullish(),
  text: z.looseObject({ format: textFormat }).nullish(),
  tools: z.array(z.looseObject({ type: z.string() })).nullish(),
  tool_choice: z
    .union(
      [
        z.enum(["none", "auto", "required"]),
        namedFunction,
        z.looseObject({
          type: z.literal("allowed_tools"),
          mode: z.enum(["auto", "required"]),
          tools: z.array(namedFunction).min(1),
        }),
      ],
      'expected "none", "auto", "required", {"type":"function","name":…} or {"type":"allowed_tools",…}',
    )
    .nullish(),
});
export type ResponseFields = z.output<typeof responseSchema>;

export interface ResponseAsk {
  readonly ask: Ask;
  readonly stream: boolean;
  /** As they were given: the reply repeats them. */
  readonly fields: ResponseFields;
}

const STATELESS = {
  previous_response_id: "this server keeps no responses: send the whole conversation as 'input'.",
  conversation: "this server keeps no conversations: send the whole conversation as 'input'.",
  background: "this server keeps no responses.",
  prompt: "this server keeps no prompts.",
  store: "this server keeps no responses.",
  return_token_ids: "responses have no place for them: ask a chat or a completion.",
  prompt_logprobs: "responses have no place for them: ask a chat or a completion.",
};
/** Values of fields that mean nothing else here. */
const FINE = { truncation: ["disabled"], service_tier: ["auto", "default"] };

/** Throws a 400 that names the field which is wrong or can't be honoured. */
export function readResponse(body: unknown, format: ToolFormat, chance: () => number): ResponseAsk {
  const fields = read(responseSchema, body);
  refuseFields(fields, STATELESS);
  refuseOthers(fields, FINE);
  const { tools, choice } = callableOf(fields);
  const messages =
    typeof fields.input === "string" ? [{ role: "user", content: fields.input }] : messagesOf(fields.input);
  if (fields.instructions != null && fields.instructions !== "")
    messages.unshift({ role: "system", content: fields.instructions });
  const prompt = promptOf(messages, tools, choice, format, {
    onlyOne: fields.parallel_tool_calls === false,
    answer: textFormatAsked(fields.text?.format),
  });
  const [options] = engineOptionsOf(
    fields,
    {
      answers: 1,
      maxTokens: fields.max_output_tokens ?? undefined,
      logprobs: logprobsAsked(fields),
      grammar: prompt.grammar?.format,
    },
    chance,
  ) as [EngineOptions];
  return {
    ask: { ...partsOf(prompt), ...idsAsked(fields), options },
    stream: fields.stream === true,
    fields,
  };
}

/** Alternatives to each token; undefined: no logprobs at all. */
const logprobsAsked = ({ top_logprobs: top, include }: ResponseFields): number | undefined =>
  top ?? (include?.includes("message.output_text.logprobs") === true ? 0 : undefined);

/** Here a function's fields stand beside its type. */
function toolOf(given: { readonly type: string }, at: number): Tool {
  if (given.type !== "function")
    throw unsupported(`tools[${at}]`, `only functions can be called, not '${given.type}'.`);
  const { type, ...described } = given;
  const checked = toolSchema.safeParse({ type, function: described });
  if (checked.success) return checked.data as Tool;
  throw invalid(`tools[${at}]`, checked.error.issues[0]?.message ?? "it is not a function.");
}

function callableOf({ tool_choice: given, tools }: ResponseFields): ReturnType<typeof callable> {
  const known = (tools ?? []).map(toolOf);
  if (given == null || typeof given === "string") return callable(given, known);
  if (given.type === "function") return callable({ name: given.name }, known);
  return callable({ mode: given.mode, allowed: given.tools.map(({ name }) => name) }, known);
}

/** Items as messages; the calls of one turn become one message, as templates expect it. */
function messagesOf(items: readonly Item[]): ChatMessage[] {
  const messages: ChatMessage[] = [];
  for (const [at, given] of items.entries()) {
    const where = `input[${at}]`;
    switch (given.type ?? "message") {
      case "message":
        if (given.role === undefined) throw missing(`${where}.role`);
        if (given.content == null) throw missing(`${where}.content`);
        messages.push({
          role: given.role === "developer" ? "system" : given.role,
          content: textOf(given.content, `${where}.content`),
        });
        break;
      case "function_call": {
        if (given.name === undefined) throw missing(`${where}.name`);
        const call = {
          type: "function",
          ...(given.call_id === undefined ? {} : { id: given.call_id }),
          function: { name: given.name, arguments: argumentsOf(given.arguments ?? "", `${where}.arguments`) },
        };
        const last = messages.at(-1);
        if (last?.role === "assistant")
          messages[messages.length - 1] = { ...last, tool_calls: [...(last.tool_calls ?? []), call] };
        else messages.push({ role: "assistant", content: "", tool_calls: [call] });
        break;
      }
      case "function_call_output":
        if (given.call_id === undefined) throw missing(`${where}.call_id`);
        if (given.output == null) throw missing(`${where}.output`);
        messages.push({ role: "tool", content: textOf(given.output, `${where}.output`), tool_call_id: given.call_id });
        break;
      case "reasoning":
        break;
      case "item_reference":
        throw unsupported(`${where}.type`, "this server keeps no items: send the item itself.");
      default:
        throw unsupported(`${where}.type`, `'${given.type}' is not known here.`);
    }
  }
  return messages;
}
