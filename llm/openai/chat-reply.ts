/**
 * Chat answers in OpenAI's form, whole or as a stream of chunks. Lines of a stream are put together from text that is made once: a token costs
 * one `JSON.stringify` of its text. Pure but for what the choices are.
 */
import { event, jsonHead, STREAM_HEAD, type Answer } from "./answer.ts";
import type { AnswerEvent, Choices, Usage } from "./choices.ts";
import type { ChatAsk } from "./chat-request.ts";
import { chatLogprobs, promptLogprobs } from "./logprobs.ts";
import type { UsageAsked } from "./sampling.ts";
import { type WholeAnswer, wholeAnswers } from "./whole-answers.ts";

/** What every chunk of an answer says of it. */
export interface ReplyFacts {
  readonly id: string;
  /** Seconds since 1970. */
  readonly created: number;
  readonly model: string;
  readonly fingerprint: string;
}

export const usageOf = ({ promptTokens, cachedTokens, completionTokens, reasoningTokens }: Usage) => ({
  prompt_tokens: promptTokens,
  completion_tokens: completionTokens,
  total_tokens: promptTokens + completionTokens,
  prompt_tokens_details: { cached_tokens: cachedTokens },
  completion_tokens_details: { reasoning_tokens: reasoningTokens },
});

/** What each chunk of a stream says of the counts, as the end of its JSON. */
export const usageField = (asked: UsageAsked, choices: Choices): (() => string) =>
  asked === "always"
    ? () => `,"usage":${JSON.stringify(usageOf(choices.usage))}`
    : () => (asked === "end" ? ',"usage":null' : "");

/** By the name that most clients read, and by vLLM's of today. */
const thoughtOf = (text: string) => ({ reasoning_content: text, reasoning: text });

type End = Extract<AnswerEvent, { kind: "end" }>;
/** vLLM's: what ended an answer, where it was a stop text or token. */
export const stopReasonOf = ({ stoppedBy }: End) => (stoppedBy === undefined ? {} : { stop_reason: stoppedBy });
/** The same as the end of an object's JSON. */
export const stopReasonField = ({ stoppedBy }: End): string =>
  stoppedBy === undefined ? "" : `,"stop_reason":${JSON.stringify(stoppedBy)}`;
const finishOf = ({ finishReason }: End, isForced: boolean): string =>
  isForced && finishReason === "tool_calls" ? "stop" : finishReason;

const callOf = ({ id, name, arguments: values }: WholeAnswer["calls"][number]) => ({
  id,
  type: "function",
  function: { name, arguments: values },
});

/** One JSON object. Says nothing where the request was called off. */
export async function* wholeChat(choices: Choices, ask: ChatAsk, facts: ReplyFacts): Answer {
  const answers = await wholeAnswers(choices, ask.asks.length);
  if (answers === undefined) return;
  yield jsonHead();
  yield JSON.stringify({
    id: facts.id,
    object: "chat.completion",
    created: facts.created,
    model: facts.model,
    system_fingerprint: facts.fingerprint,
    choices: answers.map(({ thought, text, calls, scores, end }, index) => ({
      index,
      message: {
        role: "assistant",
        content: (calls.length > 0 || thought !== "") && text === "" ? null : text,
        refusal: null,
        ...(thought === "" ? {} : thoughtOf(thought)),
        ...(calls.length > 0 ? { tool_calls: calls.map(callOf) } : {}),
      },
      logprobs: ask.asks[index]!.options.logprobs === undefined ? null : chatLogprobs(scores),
      finish_reason: finishOf(end, ask.isForced),
      ...stopReasonOf(end),
      ...(choices.tokensOf(index) && { token_ids: choices.tokensOf(index) }),
    })),
    ...(choices.tokensOf(0) && { prompt_token_ids: choices.promptOf(0) }),
    ...(answers[0]!.promptScores && { prompt_logprobs: promptLogprobs(answers[0]!.promptScores) }),
    usage: usageOf(choices.usage),
    ...(ask.timings ? { timings: choices.timings } : {}),
  });
}

/** Chunks: the role, what is said, how it ended, the counts if they are wanted, the end mark. */
export async function* streamedChat(choices: Choices, ask: ChatAsk, facts: ReplyFacts): Answer {
  const head = `data: {"id":"${facts.id}","object":"chat.completion.chunk","created":${facts.created},"model":${JSON.stringify(facts.model)},"system_fingerprint":${JSON.stringify(facts.fingerprint)},`;
  const open = `${head}"choices":[{"index":`;
  const usage = usageField(ask.usage, choices);
  const close = (): string => `"logprobs":null,"finish_reason":null}]${usage()}}\n\n`;
  const roles = ask.asks.map(
    ({ calls }, index) =>
      `${open}${index},"delta":{"role":"assistant","content":${calls === undefined ? '""' : "null"},"refusal":null},${close()}`,
  );
  let ended = 0;
  for await (const said of choices.streamEvents()) {
    if (said.kind === "begin") {
      yield STREAM_HEAD;
      yield roles.join("");
      continue;
    }
    const begin = open + said.index;
    if (said.kind === "text") {
      const delta = `${begin},"delta":{"content":${JSON.stringify(said.text)}},`;
      yield said.logprobs === undefined
        ? delta + close()
        : `${delta}"logprobs":${JSON.stringify(chatLogprobs(said.logprobs))},"finish_reason":null}]${usage()}}\n\n`;
    } else if (said.kind === "thought") yield `${begin},"delta":${JSON.stringify(thoughtOf(said.text))},${close()}`;
    else if (said.kind === "call") {
      const at = `${begin},"delta":{"tool_calls":[{"index":${said.call},`;
      yield `${at}"id":"${said.id}","type":"function","function":{"name":${JSON.stringify(said.name)},"arguments":""}}]},${close()}`;
      yield `${at}"function":{"arguments":${JSON.stringify(said.arguments)}}}]},${close()}`;
    } else if (said.kind === "end") {
      ended++;
      yield `${begin},"delta":{},"logprobs":null,"finish_reason":"${finishOf(said, ask.isForced)}"${stopReasonField(said)}}]${usage()}}\n\n`;
    }
  }
  if (ended < ask.asks.length) return;
  const timings = ask.timings ? `,"timings":${JSON.stringify(choices.timings)}` : "";
  if (ask.usage !== "never")
    yield `${head}"choices":[],"usage":${JSON.stringify(usageOf(choices.usage))}${timings}}\n\n`;
  else if (ask.timings) yield `${head}"choices":[]${timings}}\n\n`;
  yield event("[DONE]");
}
