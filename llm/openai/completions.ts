/** `/v1/completions`: texts or token ids that are continued; what load generators and evaluation harnesses use. Pure. */
import * as z from "zod";
import type { ChosenScore } from "../../engine/index.ts";
import { OPENAI_CHOICES_MAX, OPENAI_TOKENS_MAX } from "../../protocol/limits.ts";
import { event, jsonHead, STREAM_HEAD, type Answer } from "./answer.ts";
import { stopReasonField, stopReasonOf, usageField, usageOf, type ReplyFacts } from "./chat-reply.ts";
import type { Ask, Choices } from "./choices.ts";
import { invalid, unsupported } from "./errors.ts";
import { flag, read, text, whole } from "./fields.ts";
import { completionLogprobs, promptLogprobs } from "./logprobs.ts";
import { engineOptionsOf, idsAsked, refuseFields, samplingFields, usageAsked, type UsageAsked } from "./sampling.ts";
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
  max_tokens: whole(0),
  echo: flag,
  logprobs: whole(0, 5),
  prompt_logprobs: whole(0, 20),
  suffix: text,
  response_format: responseFormat,
  ...structuredFields,
});

export type Prompt = string | readonly number[];

/** A prompt that comes before its answer. */
export interface Echo {
  readonly text: string;
  /** What its first token says, which has no logprob. */
  readonly first: string;
}

export interface CompletionAsk {
  readonly asks: readonly Ask[];
  readonly answersPerPrompt: number;
  /** Prompts that are said again before their answers; empty where none is. */
  readonly echoed: readonly Prompt[];
  /** Alternatives that are told of each token; undefined: no logprobs. */
  readonly logprobs: number | undefined;
  /** vLLM's own list of the prompt's is wanted. */
  readonly listsPrompt: boolean;
  readonly stream: boolean;
  readonly usage: UsageAsked;
  readonly timings: boolean;
}

/** Throws a 400 that names the field which is wrong or can't be honoured. */
export function readCompletion(body: unknown, chance: () => number): CompletionAsk {
  const fields = read(completionSchema, body);
  const usage = usageAsked(fields);
  refuseFields(fields, { suffix: "this server doesn't fill in the middle." });
  const { echo, logprobs, prompt_logprobs: listed, max_tokens: given = MAX_TOKENS_DEFAULT } = fields;
  if (listed != null && fields.stream === true)
    throw invalid("prompt_logprobs", "it is only allowed when 'stream' is false.");
  if (echo === true && fields.return_tokens_as_token_ids === true)
    throw unsupported("return_tokens_as_token_ids", "a prompt's tokens are named by what they say: leave out 'echo'.");
  const promptOnly = given === 0;
  if (promptOnly && echo !== true && listed == null)
    throw invalid("max_tokens", "expected at least 1, unless 'echo' or 'prompt_logprobs' ask for the prompt.");
  const scored = [listed, echo === true ? logprobs : undefined].filter((count) => count != null);
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
      // The engine's least; what comes of it isn't told.
      maxTokens: promptOnly ? 1 : (given ?? MAX_TOKENS_DEFAULT),
      logprobs: logprobs ?? undefined,
      promptLogprobs: scored.length === 0 ? undefined : Math.max(...scored),
    },
    chance,
  );
  const asks = prompts.flatMap((prompt) =>
    options.map((each): Ask => ({
      input: typeof prompt === "string" ? { prompt } : { promptTokens: prompt },
      options: each,
      ...idsAsked(fields),
      ...(promptOnly ? { promptOnly } : {}),
      ...(grammar === undefined ? {} : { grammarField: grammar.field }),
    })),
  );
  return {
    asks,
    answersPerPrompt,
    echoed: echo === true ? prompts : [],
    logprobs: logprobs ?? undefined,
    listsPrompt: listed != null,
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

/** @param echoes what comes before each answer; empty where nothing does */
export async function* wholeCompletion(
  choices: Choices,
  ask: CompletionAsk,
  facts: ReplyFacts,
  echoes: readonly Echo[],
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
    choices: answers.map(({ text, scores, promptScores = [], end }, index) => {
      const echo = echoes[index];
      return {
        index,
        text: (echo?.text ?? "") + text,
        logprobs:
          ask.logprobs === undefined
            ? null
            : completionLogprobs(echo ? [...promptScores, ...scores] : scores, ask.logprobs, { first: echo?.first }),
        finish_reason: end.finishReason,
        ...stopReasonOf(end),
        ...(choices.tokensOf(index) && {
          token_ids: choices.tokensOf(index),
          prompt_token_ids: choices.promptOf(index),
        }),
        ...(ask.listsPrompt ? { prompt_logprobs: promptLogprobs(promptScores) } : {}),
      };
    }),
    usage: usageOf(choices.usage),
    ...(ask.timings ? { timings: choices.timings } : {}),
  });
}

export async function* streamedCompletion(
  choices: Choices,
  ask: CompletionAsk,
  facts: ReplyFacts,
  echoes: readonly Echo[],
): Answer {
  const head = `data: {"id":"${facts.id}","object":"text_completion","created":${facts.created},"model":${JSON.stringify(facts.model)},"system_fingerprint":${JSON.stringify(facts.fingerprint)},`;
  const usage = usageField(ask.usage, choices);
  const line = (index: number, text: string, finish: string, logprobs = "null"): string =>
    `${head}"choices":[{"index":${index},"text":${JSON.stringify(text)},"logprobs":${logprobs},"finish_reason":${finish}}]${usage()}}\n\n`;
  const offsets = ask.asks.map(() => 0);
  /** A line whose tokens have logprobs. */
  const scoredLine = (index: number, text: string, scores: readonly ChosenScore[], first?: string): string => {
    const told = completionLogprobs(scores, ask.logprobs ?? 0, { first, offset: offsets[index]! });
    offsets[index]! += told.tokens.reduce((sum, token) => sum + token.length, 0);
    return line(index, text, "null", JSON.stringify(told));
  };
  let ended = 0;
  for await (const said of choices.streamEvents()) {
    if (said.kind === "begin") {
      yield STREAM_HEAD;
      // With logprobs it must wait for them.
      if (ask.logprobs === undefined)
        for (const [index, { text }] of echoes.entries()) if (text !== "") yield line(index, text, "null");
      continue;
    }
    const { kind, index } = said;
    if (kind === "prompt") yield scoredLine(index, echoes[index]!.text, said.scores, echoes[index]!.first);
    else if (kind === "text")
      yield said.logprobs === undefined ? line(index, said.text, "null") : scoredLine(index, said.text, said.logprobs);
    else if (kind === "end") {
      ended++;
      yield line(index, "", `"${said.finishReason}"${stopReasonField(said)}`);
    }
  }
  if (ended < ask.asks.length) return;
  const timings = ask.timings ? `,"timings":${JSON.stringify(choices.timings)}` : "";
  if (ask.usage !== "never")
    yield `${head}"choices":[],"usage":${JSON.stringify(usageOf(choices.usage))}${timings}}\n\n`;
  else if (ask.timings) yield `${head}"choices":[]${timings}}\n\n`;
  yield event("[DONE]");
}
