/** Messages in the form of Anthropic's API: one object, or a series of named events that build it up. Pure but for what the choices are. */
import { jsonHead, STREAM_HEAD, type Answer } from "./answer.ts";
import type { ReplyFacts } from "./chat-reply.ts";
import type { AnswerEvent, Choices } from "./choices.ts";

type End = Extract<AnswerEvent, { kind: "end" }>;
type Call = Extract<AnswerEvent, { kind: "call" }>;

const event = (type: string, more: object): string => `event: ${type}\ndata: ${JSON.stringify({ type, ...more })}\n\n`;

/** Says that somebody is there. */
export const PING = event("ping", {});

/** What came of the cache is counted apart from the rest of the prompt. */
const usageOf = ({ usage: { promptTokens, cachedTokens, completionTokens } }: Choices) => ({
  input_tokens: promptTokens - cachedTokens,
  cache_creation_input_tokens: 0,
  cache_read_input_tokens: cachedTokens,
  output_tokens: completionTokens,
});

/** How it ended. An end by a token of the request's is one of the turn. */
function stopOf({ finishReason, stoppedBy }: End) {
  if (finishReason === "tool_calls") return { stop_reason: "tool_use", stop_sequence: null };
  if (typeof stoppedBy === "string") return { stop_reason: "stop_sequence", stop_sequence: stoppedBy };
  return { stop_reason: finishReason === "length" ? "max_tokens" : "end_turn", stop_sequence: null };
}

const messageOf = ({ id, model }: ReplyFacts, content: readonly object[], choices: Choices, end?: End) => ({
  id,
  type: "message",
  role: "assistant",
  model,
  content,
  ...(end === undefined ? { stop_reason: null, stop_sequence: null } : stopOf(end)),
  usage: usageOf(choices),
});

const TEXT = { start: { type: "text", text: "" }, field: "text", delta: "text_delta" } as const;
/** Nobody signs what is thought here. */
const THOUGHT = {
  start: { type: "thinking", thinking: "", signature: "" },
  field: "thinking",
  delta: "thinking_delta",
} as const;
type Kind = typeof TEXT | typeof THOUGHT;
const kindOf = { text: TEXT, thought: THOUGHT } as const;

const callOf = ({ id, name }: Call, input: unknown) => ({
  type: "tool_use",
  id: id.replace("call_", "toolu_"),
  name,
  input,
});

/** One JSON object. Says nothing where the request was called off. */
export async function* wholeMessage(choices: Choices, facts: ReplyFacts): Answer {
  const content: object[] = [];
  /** The text or thought that is under way. */
  let open: { readonly kind: Kind; said: string } | undefined;
  const finish = (): void => {
    if (open !== undefined) content.push({ ...open.kind.start, [open.kind.field]: open.said });
    open = undefined;
  };
  let end: End | undefined;
  for await (const next of choices.events()) {
    if (next.kind === "text" || next.kind === "thought") {
      if (next.text === "") continue;
      const kind = kindOf[next.kind];
      if (open?.kind !== kind) finish();
      open ??= { kind, said: "" };
      open.said += next.text;
    } else if (next.kind === "call") {
      finish();
      content.push(callOf(next, JSON.parse(next.arguments)));
    } else if (next.kind === "end") end = next;
  }
  if (end === undefined) return;
  finish();
  yield jsonHead();
  yield JSON.stringify(messageOf(facts, content, choices, end));
}

/** The message without content, its blocks one after the other, how it ended with the counts, and the end. */
export async function* streamedMessage(choices: Choices, facts: ReplyFacts): Answer {
  const opening = event("message_start", { message: messageOf(facts, [], choices) }) + PING;
  let index = -1;
  let open: Kind | undefined;
  const start = (content_block: object): string => event("content_block_start", { index: ++index, content_block });
  const delta = (given: object): string => event("content_block_delta", { index, delta: given });
  const stop = (): string => event("content_block_stop", { index });
  let end: End | undefined;
  for await (const next of choices.streamEvents()) {
    if (next.kind === "begin") {
      yield STREAM_HEAD;
      yield opening;
    } else if (next.kind === "text" || next.kind === "thought") {
      if (next.text === "") continue;
      const kind = kindOf[next.kind];
      if (open !== kind) {
        if (open !== undefined) yield stop();
        yield start(kind.start);
        open = kind;
      }
      yield delta({ type: kind.delta, [kind.field]: next.text });
    } else if (next.kind === "call") {
      if (open !== undefined) yield stop();
      open = undefined;
      yield start(callOf(next, {}));
      yield delta({ type: "input_json_delta", partial_json: next.arguments });
      yield stop();
    } else if (next.kind === "end") end = next;
  }
  if (end === undefined) return;
  if (open !== undefined) yield stop();
  yield event("message_delta", { delta: stopOf(end), usage: usageOf(choices) });
  yield event("message_stop", {});
}
