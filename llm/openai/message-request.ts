/** `/v1/messages`, Anthropic's API: from the request's body to what is asked of the engine. Pure. */
import * as z from "zod";
import type { ChatMessage, PromptInput } from "../../engine/index.ts";
import { callable, type ChatPrompt, content, partsOf, promptOf, textOf } from "./chat-prompt.ts";
import type { Ask } from "./choices.ts";
import { missing, unsupported } from "./errors.ts";
import { flag, read, text, whole } from "./fields.ts";
import {
  engineOptionsOf,
  refuseFields,
  refuseOthers,
  samplingFields,
  stopTexts,
  type EngineOptions,
} from "./sampling.ts";
import { schemaAsked } from "./structured-output.ts";
import type { Tool, ToolFormat } from "./tool-style.ts";

const block = z.looseObject({
  type: z.string(),
  text: z.string().optional(),
  thinking: z.string().optional(),
  id: z.string().optional(),
  name: z.string().optional(),
  input: z.looseObject({}).optional(),
  tool_use_id: z.string().optional(),
  content: content.nullish(),
});
const blocks = z.union([z.string(), z.array(block)], "expected a text or a list of content blocks");
type Blocks = z.output<typeof blocks>;

const messageSchema = z.looseObject({
  ...samplingFields,
  messages: z
    .array(z.looseObject({ role: z.enum(["user", "assistant"]), content: blocks }))
    .min(1, "expected at least one message"),
  system: content.nullish(),
  max_tokens: whole(1),
  stop_sequences: stopTexts.nullish(),
  tools: z
    .array(
      z.looseObject({
        type: text,
        name: z.string().regex(/^[\w-]{1,128}$/, "expected 1 to 128 letters, digits, underscores or dashes"),
        description: z.string().optional(),
        input_schema: z.looseObject({}).optional(),
        strict: flag,
      }),
    )
    .nullish(),
  tool_choice: z
    .union(
      [
        z.looseObject({ type: z.enum(["auto", "any", "none"]), disable_parallel_tool_use: flag }),
        z.looseObject({ type: z.literal("tool"), name: z.string(), disable_parallel_tool_use: flag }),
      ],
      'expected the type "auto", "any", "none", or "tool" and a name',
    )
    .nullish(),
  thinking: z.looseObject({ type: z.enum(["enabled", "disabled", "adaptive"]) }).nullish(),
  output_config: z
    .looseObject({
      effort: text,
      format: z.looseObject({ type: z.literal("json_schema"), schema: z.looseObject({}) }).nullish(),
    })
    .nullish(),
  metadata: z.looseObject({ user_id: samplingFields.user }).nullish(),
});
type MessageFields = z.output<typeof messageSchema>;

export interface MessageAsk {
  readonly ask: Ask;
  readonly stream: boolean;
  /** What the template is to read of thinking, as a chat's fields say it. */
  readonly thinking: object;
}

const ELSEWHERE = {
  container: "this server runs no code.",
  mcp_servers: "this server calls no other servers: give their tools as 'tools'.",
  context_management: "nothing is taken out of a conversation: send what the model shall read.",
  output_format: "give it as 'output_config.format'.",
  return_token_ids: "messages have no place for them: ask a chat or a completion.",
  prompt_logprobs: "messages have no place for them: ask a chat or a completion.",
};
/** Values of fields that mean nothing else here. */
const FINE = { service_tier: ["auto", "standard_only"] };

/** Throws a 400 that names the field which is wrong or can't be honoured. */
export function readMessage(body: unknown, format: ToolFormat, chance: () => number): MessageAsk {
  const fields = read(messageSchema, body);
  if (fields.max_tokens == null) throw missing("max_tokens");
  refuseFields(fields, ELSEWHERE);
  refuseOthers(fields, FINE);
  const prompt = promptAsked(fields, format);
  const [options] = engineOptionsOf(
    { ...fields, stop: fields.stop_sequences, user: fields.metadata?.user_id ?? fields.user },
    { answers: 1, maxTokens: fields.max_tokens, logprobs: undefined, grammar: prompt.grammar?.format },
    chance,
  ) as [EngineOptions];
  return { ask: { ...partsOf(prompt), options }, stream: fields.stream === true, thinking: thinkingOf(fields) };
}

/** What a request to count tokens, which needs no `max_tokens`, would have the engine read. */
export function readMessageInput(
  body: unknown,
  format: ToolFormat,
): { readonly input: PromptInput; readonly thinking: object } {
  const fields = read(messageSchema, body);
  return { input: promptAsked(fields, format).input, thinking: thinkingOf(fields) };
}

function promptAsked(fields: MessageFields, format: ToolFormat): ChatPrompt {
  const given = fields.tool_choice;
  const { tools, choice } = callable(
    given == null
      ? undefined
      : given.type === "tool"
        ? { name: given.name }
        : given.type === "any"
          ? "required"
          : given.type,
    (fields.tools ?? []).map(toolOf),
  );
  const schema = fields.output_config?.format?.schema;
  const messages = messagesOf(fields.messages);
  if (messages.at(-1)?.role === "assistant")
    throw unsupported("messages", "an answer can't be begun for the model: end with a message of the user's.");
  const system = textOf(fields.system ?? "", "system", "\n");
  return promptOf(
    system === "" ? messages : [{ role: "system", content: system }, ...messages],
    tools,
    choice,
    format,
    {
      onlyOne: given?.disable_parallel_tool_use === true,
      answer: schema === undefined ? undefined : schemaAsked("output_config.format", schema),
    },
  );
}

/** Thinking is only wanted where it is asked for. That a model always thinks is no reason to refuse who says nothing. */
function thinkingOf({ thinking, output_config: config }: MessageFields): object {
  const effort = config?.effort == null ? {} : { reasoning_effort: config.effort === "max" ? "xhigh" : config.effort };
  if (thinking?.type === "disabled") return { thinking };
  return { ...effort, chat_template_kwargs: { enable_thinking: thinking != null } };
}

function toolOf(given: NonNullable<MessageFields["tools"]>[number], at: number): Tool {
  if (given.type != null && given.type !== "custom")
    throw unsupported(`tools[${at}]`, `only tools with an 'input_schema' can be called, not '${given.type}'.`);
  if (given.input_schema === undefined) throw missing(`tools[${at}].input_schema`);
  const { name, description, input_schema: parameters, strict } = given;
  return {
    type: "function",
    function: {
      name,
      ...(description === undefined ? {} : { description }),
      parameters,
      ...(strict == null ? {} : { strict }),
    },
  };
}

type Turn = ChatMessage & { readonly role: "user" | "assistant" };

/** As templates expect them: results of calls are messages of their own, and what one side says in a row is one turn. */
function messagesOf(
  given: readonly { readonly role: "user" | "assistant"; readonly content: Blocks }[],
): ChatMessage[] {
  const messages: ChatMessage[] = [];
  /** The side's turn that is under way, with more in it. */
  const add = (role: Turn["role"], more: (turn: ChatMessage) => Partial<ChatMessage>): void => {
    const last = messages.at(-1);
    const turn = last?.role === role ? messages.pop()! : { role, content: "" };
    messages.push({ ...turn, ...more(turn) });
  };
  const say = (role: Turn["role"], said: string): void =>
    add(role, ({ content: before }) => ({ content: before === "" ? said : `${before}\n${said}` }));
  for (const [at, { role, content: said }] of given.entries()) {
    if (typeof said === "string") say(role, said);
    else for (const [place, part] of said.entries()) take(role, part, `messages[${at}].content[${place}]`);
  }
  return messages;

  function take(role: Turn["role"], part: z.output<typeof block>, where: string): void {
    const { type, id, name, input } = part;
    if (type === "text") {
      if (part.text === undefined) throw missing(`${where}.text`);
      return say(role, part.text);
    }
    if (role === "user" && type === "tool_result") {
      if (part.tool_use_id === undefined) throw missing(`${where}.tool_use_id`);
      const told = textOf(part.content ?? "", `${where}.content`, "\n");
      messages.push({ role: "tool", content: told, tool_call_id: part.tool_use_id });
      return;
    }
    if (role === "assistant" && type === "tool_use") {
      if (id === undefined) throw missing(`${where}.id`);
      if (name === undefined) throw missing(`${where}.name`);
      const call = { type: "function", id, function: { name, arguments: input ?? {} } };
      return add(role, ({ tool_calls: calls = [] }) => ({ tool_calls: [...calls, call] }));
    }
    if (role === "assistant" && type === "thinking")
      return add(role, () => ({ reasoning_content: part.thinking ?? "" }));
    if (role === "assistant" && type === "redacted_thinking") return;
    throw unsupported(where, `this model reads text and what tools gave, not '${type}'.`);
  }
}
