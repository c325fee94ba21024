/** Responses in OpenAI's form: one object, or a series of named events that build it up. Pure but for what the choices are. */
import type { ChosenScore } from "../../engine/index.ts";
import { BrokenStream, jsonHead, STREAM_HEAD, type Answer } from "./answer.ts";
import type { ReplyFacts } from "./chat-reply.ts";
import { newId, type AnswerEvent, type Choices, type StreamEvent, type Surroundings } from "./choices.ts";
import type { ApiError } from "./errors.ts";
import { chatLogprobs } from "./logprobs.ts";
import type { ResponseAsk } from "./response-request.ts";

/** A message, or a thought. */
interface TextItem {
  readonly id: string;
  readonly type: "message" | "reasoning";
  status: Exclude<Status, "failed">;
  content: readonly object[];
}
interface CallItem {
  readonly id: string;
  readonly type: "function_call";
  readonly call_id: string;
  readonly name: string;
  arguments: string;
  status: "in_progress" | "completed";
}
type Status = "in_progress" | "completed" | "incomplete" | "failed";

const outputText = (text: string, scores: readonly ChosenScore[] = []): object => ({
  type: "output_text",
  text,
  annotations: [],
  logprobs: chatLogprobs(scores).content,
});

/** What an item of text is made of. */
interface TextKind {
  begin(chance: Pick<Surroundings, "random">): TextItem;
  /** Its only part. */
  part(text: string, scores?: readonly ChosenScore[]): object;
  /** As its events are called. */
  readonly events: string;
}
const begun = { status: "in_progress", content: [] } as const;
const MESSAGE: TextKind = {
  begin: (chance) => ({ id: newId("msg_", chance), type: "message", role: "assistant", ...begun }) as TextItem,
  part: outputText,
  events: "output_text",
};
const THOUGHT: TextKind = {
  begin: (chance) => ({ id: newId("rs_", chance), type: "reasoning", summary: [], ...begun }) as TextItem,
  part: (text) => ({ type: "reasoning_text", text }),
  events: "reasoning_text",
};

/** The response as far as it is known. */
function responseOf(ask: ResponseAsk, facts: ReplyFacts, status: Status, output: readonly object[], choices?: Choices) {
  const { fields } = ask;
  const usage = choices?.usage;
  return {
    id: facts.id,
    object: "response",
    created_at: facts.created,
    status,
    background: false,
    error: null,
    incomplete_details: status === "incomplete" ? { reason: "max_output_tokens" } : null,
    instructions: fields.instructions ?? null,
    max_output_tokens: fields.max_output_tokens ?? null,
    max_tool_calls: fields.max_tool_calls ?? null,
    model: facts.model,
    output,
    parallel_tool_calls: fields.parallel_tool_calls ?? true,
    previous_response_id: null,
    reasoning: { effort: effortOf(fields), summary: null },
    store: false,
    temperature: fields.temperature ?? 1,
    text: { format: fields.text?.format ?? { type: "text" } },
    tool_choice: fields.tool_choice ?? "auto",
    tools: fields.tools ?? [],
    top_logprobs: fields.top_logprobs ?? 0,
    top_p: fields.top_p ?? 1,
    truncation: "disabled",
    usage:
      usage === undefined
        ? null
        : {
            input_tokens: usage.promptTokens,
            input_tokens_details: { cached_tokens: usage.cachedTokens },
            output_tokens: usage.completionTokens,
            output_tokens_details: { reasoning_tokens: usage.reasoningTokens },
            total_tokens: usage.promptTokens + usage.completionTokens,
          },
    user: fields.user ?? null,
    metadata: fields.metadata ?? {},
  };
}

/** As it was given; it is read, and checked, where the model is asked. */
const effortOf = ({ reasoning }: ResponseAsk["fields"]): unknown =>
  (reasoning as { readonly effort?: unknown } | null | undefined)?.effort ?? null;

type End = Extract<AnswerEvent, { kind: "end" }>;
const statusOf = (end: End): "completed" | "incomplete" => (end.finishReason === "length" ? "incomplete" : "completed");

/** One JSON object. Says nothing where the request was called off. */
export async function* wholeResponse(
  choices: Choices,
  ask: ResponseAsk,
  facts: ReplyFacts,
  chance: Pick<Surroundings, "random">,
): Answer {
  const output: object[] = [];
  let thought = "";
  let said = "";
  let scores: ChosenScore[] = [];
  /** Of tokens whose text is held back: it may be a call's. */
  let held: ChosenScore[] = [];
  let end: End | undefined;
  const message = (status: Status): void => {
    if (said === "" && (output.length > 0 || thought !== "")) return;
    output.push({ ...MESSAGE.begin(chance), status, content: [outputText(said, scores)] });
    said = "";
    scores = [];
  };
  for await (const next of choices.events()) {
    if (next.kind === "text") {
      held.push(...(next.logprobs ?? []));
      if (next.text === "") continue;
      said += next.text;
      scores.push(...held);
      held = [];
    } else if (next.kind === "thought") thought += next.text;
    else if (next.kind === "call") {
      if (said !== "") message("completed");
      held = [];
      const { id, name, arguments: values } = next;
      output.push({
        id: newId("fc_", chance),
        type: "function_call",
        call_id: id,
        name,
        arguments: values,
        status: "completed",
      });
    } else if (next.kind === "end") end = next;
  }
  if (end === undefined) return;
  message(statusOf(end));
  if (thought !== "") {
    const status = output.length === 0 ? statusOf(end) : "completed";
    output.unshift({ ...THOUGHT.begin(chance), status, content: [THOUGHT.part(thought)] });
  }
  yield jsonHead();
  yield JSON.stringify(responseOf(ask, facts, statusOf(end), output, choices));
}

/** The same events; what breaks them is told in `lastWords`. */
async function* breaking(
  events: AsyncIterable<StreamEvent>,
  lastWords: BrokenStream["lastWords"],
): AsyncGenerator<StreamEvent, void, undefined> {
  try {
    yield* events;
  } catch (error) {
    throw new BrokenStream(error, lastWords);
  }
}

/** Named events, numbered; a text's pieces are put together without serialising the rest again. */
export async function* streamedResponse(
  choices: Choices,
  ask: ResponseAsk,
  facts: ReplyFacts,
  chance: Pick<Surroundings, "random">,
): Answer {
  let number = 0;
  const event = (type: string, more: object): string =>
    `event: ${type}\ndata: ${JSON.stringify({ type, sequence_number: number++, ...more })}\n\n`;
  const output: (TextItem | CallItem)[] = [];
  let open: { readonly item: TextItem; readonly kind: TextKind; text: string; scores: ChosenScore[] } | undefined;
  /** Of the open item's deltas, what is the same in all. */
  let delta = "";
  /** Of tokens whose text is held back: it may be a call's. */
  let held: ChosenScore[] = [];

  /** Begins an item and its only part. */
  function* begin(kind: TextKind): Generator<string> {
    const item = kind.begin(chance);
    const place = { item_id: item.id, output_index: output.length, content_index: 0 };
    yield event("response.output_item.added", { output_index: output.length, item });
    yield event("response.content_part.added", { ...place, part: kind.part("") });
    delta = `,"item_id":"${item.id}","output_index":${output.length},"content_index":0,"delta":`;
    output.push(item);
    open = { item, kind, text: "", scores: [] };
  }
  function* finish(status: "completed" | "incomplete"): Generator<string> {
    if (open === undefined) return;
    const { item, kind, text, scores } = open;
    open = undefined;
    const at = output.length - 1;
    const place = { item_id: item.id, output_index: at, content_index: 0 };
    const logprobs = kind === MESSAGE ? { logprobs: chatLogprobs(scores).content } : {};
    yield event(`response.${kind.events}.done`, { ...place, text, ...logprobs });
    const part = kind.part(text, scores);
    yield event("response.content_part.done", { ...place, part });
    item.status = status;
    item.content = [part];
    yield event("response.output_item.done", { output_index: at, item });
  }
  function* call({ id, name, arguments: values }: Extract<AnswerEvent, { kind: "call" }>): Generator<string> {
    const item: CallItem = {
      id: newId("fc_", chance),
      type: "function_call",
      call_id: id,
      name,
      arguments: "",
      status: "in_progress",
    };
    const at = output.length;
    yield event("response.output_item.added", { output_index: at, item });
    const place = { item_id: item.id, output_index: at };
    yield event("response.function_call_arguments.delta", { ...place, delta: values });
    yield event("response.function_call_arguments.done", { ...place, name, arguments: values });
    item.arguments = values;
    item.status = "completed";
    output.push(item);
    yield event("response.output_item.done", { output_index: at, item });
  }

  const failed = ({ message, code, param }: ApiError): string => {
    if (open !== undefined) Object.assign(open.item, { status: "incomplete", content: [open.kind.part(open.text)] });
    const broken = { ...responseOf(ask, facts, "failed", output), error: { code: "server_error", message } };
    return event("error", { code, message, param }) + event("response.failed", { response: broken });
  };
  let end: End | undefined;
  for await (const next of breaking(choices.streamEvents(), failed)) {
    if (next.kind === "begin") {
      yield STREAM_HEAD;
      const response = responseOf(ask, facts, "in_progress", []);
      yield event("response.created", { response });
      yield event("response.in_progress", { response });
    } else if (next.kind === "text") {
      held.push(...(next.logprobs ?? []));
      if (next.text === "") continue;
      if (open?.kind !== MESSAGE) {
        yield* finish("completed");
        yield* begin(MESSAGE);
      }
      open!.text += next.text;
      open!.scores.push(...held);
      const logprobs = held.length === 0 ? "[]" : JSON.stringify(chatLogprobs(held).content);
      held = [];
      yield `event: response.output_text.delta\ndata: {"type":"response.output_text.delta","sequence_number":${number++}${delta}${JSON.stringify(next.text)},"logprobs":${logprobs}}\n\n`;
    } else if (next.kind === "thought") {
      if (open === undefined) yield* begin(THOUGHT);
      open!.text += next.text;
      yield `event: response.reasoning_text.delta\ndata: {"type":"response.reasoning_text.delta","sequence_number":${number++}${delta}${JSON.stringify(next.text)}}\n\n`;
    } else if (next.kind === "call") {
      held = [];
      yield* finish("completed");
      yield* call(next);
    } else if (next.kind === "end") end = next;
  }
  if (end === undefined) return;
  const status = statusOf(end);
  if (output.length === 0) yield* begin(MESSAGE);
  yield* finish(status);
  yield event(`response.${status}`, { response: responseOf(ask, facts, status, output, choices) });
}
