/** `/v1/completions`: texts or token ids that are continued; what load generators and evaluation harnesses use. Pure. */
import * as z from "zod";
import { OPENAI_CHOICES_MAX, OPENAI_TOKENS_MAX } from "../../protocol/limits.ts";
import { event, jsonHead, STREAM_HEAD, type Answer } from "./answer.ts";
import { usageField, usageOf, type ReplyFacts } from "./chat-reply.ts";
import type { Ask, Choices } from "./choices.ts";
import { invalid, unsupported } from "./errors.ts";
import { flag, read, text, whole } from "./fields.ts";
import { completionLogprobs } from "./logprobs.ts";
import { engineOptionsOf, refuseFields, samplingFields, usageAsked, type UsageAsked } from "./sampling.ts";
import { grammarAskedBy, responseFormat, structuredFields } from "./structured-output.ts";
import { wholeAnswers } from "./whole-answers.ts";

/** OpenAI's default for this endpoint. */
const MAX_TOKENS_DEFAULT = 16;

export const tokenIds = z.array(z.number().int().nonnegative()).min(1).max(OPENAI_TOKENS_MAX);
const completionSchema = z.looseObject({
  ...samplingFields,
  prompt: z.union(
    [
      z.string(),
      tokenIds,
      z
        .array(z.union([z.string(), tokenIds]))
        .min(1)
        .max(OPENAI_CHOICES_MAX),
    ],
    `expected a text, token ids, or up to ${OPENAI_CHOICES_MAX} of these`,
  ),
  n: whole(1, OPENAI_CHOICES_MAX),
  best_of: whole(1, OPENAI_CHOICES_MAX),
  max_tokens: whole(1),
  echo: flag,
  logprobs: whole(0, 5),
  suffix: text,
  response_format: responseFormat,
  ...structuredFields,
});

export type Prompt = string | readonly number[];

export interface CompletionAsk {
  readonly asks: readonly Ask[];
  readonly answersPerPrompt: number;
  /** Prompts that are said again before their answers; empty where none is. */
  readonly echoed: readonly Prompt[];
  readonly stream: boolean;
  readonly usage: UsageAsked;
  readonly timings: boolean;
}

/** Throws a 400 that names the field which is wrong or can't be honoured. */
export function readCompletion(body: unknown, chance: () => number): CompletionAsk {
  const fields = read(completionSchema, body);
  const usage = usageAsked(fields);
  refuseFields(fields, { suffix: "this server doesn't fill in the middle." });
  if (fields.echo === true && fields.logprobs != null)
    throw unsupported("echo", "prompts aren't scored here: ask for 'logprobs' without it.");
  const answersPerPrompt = fields.n ?? 1;
  if (fields.best_of != null && fields.best_of !== answersPerPrompt)
    throw invalid("best_of", "it must equal 'n': all answers are returned.");
  const prompts = promptsOf(fields.prompt);
  if (prompts.length * answersPerPrompt > OPENAI_CHOICES_MAX)
    throw invalid("n", `at most ${OPENAI_CHOICES_MAX} answers to all prompts together.`);
  const grammar = grammarAskedBy(fields);
  const options = engineOptionsOf(
    fields,
    {
      grammar: grammar?.format,
      answers: answersPerPrompt,
      maxTokens: fields.max_tokens ?? MAX_TOKENS_DEFAULT,
      logprobs: fields.logprobs ?? undefined,
    },
    chance,
  );
  const asks = prompts.flatMap((prompt) =>
    options.map((each): Ask => ({
      input: typeof prompt === "string" ? { prompt } : { promptTokens: prompt },
      options: each,
      ...(grammar === undefined ? {} : { grammarField: grammar.field }),
    })),
  );
  return {
    asks,
    answersPerPrompt,
    echoed: fields.echo === true ? prompts : [],
    stream: fields.stream === true,
    usage,
    timings: fields.timings === true,
  };
}

/** A list of numbers is one prompt; any other list has a prompt in each place. */
function promptsOf(given: string | readonly (number | string | readonly number[])[]): readonly Prompt[] {
  if (typeof given === "string") return [given];
  return typeof given[0] === "number" ? [given as readonly number[]] : (given as readonly Prompt[]);
}

/** @param echoes text before each answer, "" for none */
export async function* wholeCompletion(
  choices: Choices,
  ask: CompletionAsk,
  facts: ReplyFacts,
  echoes: readonly string[],
): Answer {
  const answers = await wholeAnswers(choices, ask.asks.length);
  if (answers === undefined) return;
  yield jsonHead();
  yield JSON.stringify({
    id: facts.id,
    object: "text_completion",
    created: facts.created,
    model: facts.model,
    system_fingerprint: facts.fingerprint,
    choices: answers.map(({ text, scores, end }, index) => ({
      index,
      text: (echoes[index] ?? "") + text,
      logprobs:
        ask.asks[index]!.options.logprobs === undefined ? null : completionLogprobs(scores, echoes[index]?.length ?? 0),
      finish_reason: end.finishReason,
    })),
    usage: usageOf(choices.usage),
    ...(ask.timings ? { timings: choices.timings } : {}),
  });
}

export async function* streamedCompletion(
  choices: Choices,
  ask: CompletionAsk,
  facts: ReplyFacts,
  echoes: readonly string[],
): Answer {
  const head = `data: {"id":"${facts.id}","object":"text_completion","created":${facts.created},"model":${JSON.stringify(facts.model)},"system_fingerprint":${JSON.stringify(facts.fingerprint)},`;
  const usage = usageField(ask.usage, choices);
  const line = (index: number, text: string, finish: string, logprobs = "null"): string =>
    `${head}"choices":[{"index":${index},"text":${JSON.stringify(text)},"logprobs":${logprobs},"finish_reason":${finish}}]${usage()}}\n\n`;
  const offsets = ask.asks.map((_, index) => echoes[index]?.length ?? 0);
  let ended = 0;
  for await (const said of choices.streamEvents()) {
    if (said.kind === "begin") {
      yield STREAM_HEAD;
      for (const [index, echo] of echoes.entries()) if (echo !== "") yield line(index, echo, "null");
    } else if (said.kind === "text") {
      const { index, text, logprobs } = said;
      if (logprobs === undefined) yield line(index, text, "null");
      else {
        const scores = completionLogprobs(logprobs, offsets[index]!);
        offsets[index]! += scores.tokens.reduce((sum, token) => sum + token.length, 0);
        yield line(index, text, "null", JSON.stringify(scores));
      }
    } else if (said.kind === "end") {
      ended++;
      yield line(said.index, "", `"${said.finishReason}"`);
    }
  }
  if (ended < ask.asks.length) return;
  const timings = ask.timings ? `,"timings":${JSON.stringify(choices.timings)}` : "";
  if (ask.usage !== "never")
    yield `${head}"choices":[],"usage":${JSON.stringify(usageOf(choices.usage))}${timings}}\n\n`;
  else if (ask.timings) yield `${head}"choices":[]${timings}}\n\n`;
  yield event("[DONE]");
}
