/** How the next token is chosen: from OpenAI's fields (and vLLM's extras) to the engine's names. Pure. */
import * as z from "zod";
import { choiceSeed, type GenerateRequest, type GrammarFormat, type SamplingParameters } from "../../engine/index.ts";
import { OPENAI_LABEL_MAX } from "../../protocol/limits.ts";
import { invalid, unsupported } from "./errors.ts";
import { between, flag, text, whole } from "./fields.ts";

/** A name of the caller's: the engine keeps it with what it remembers of prompts. */
const label = z.string().max(OPENAI_LABEL_MAX).nullish();
const stopText = z.string().min(1, "a stop text must not be empty");

/** Fields that chat and completions share. */
export const samplingFields = {
  model: text,
  temperature: between(0, 2),
  top_p: between(0, 1),
  seed: z.number().int("expected a whole number").nullish(),
  presence_penalty: between(-2, 2),
  frequency_penalty: between(-2, 2),
  logit_bias: z
    .record(z.string().regex(/^\d+$/, "expected token ids as keys"), z.number().min(-100).max(100))
    .nullish(),
  stop: z
    .union([stopText, z.array(stopText).max(4, "expected at most 4 texts")], "expected a text or up to 4 texts")
    .nullish(),
  user: label,
  stream: flag,
  stream_options: z.looseObject({ include_usage: flag, continuous_usage_stats: flag }).nullish(),
  // Beyond OpenAI, as vLLM and others take them.
  top_k: whole(-1),
  min_p: between(0, 1),
  repetition_penalty: between(0.01, 100),
  min_tokens: whole(0),
  cache_salt: label,
  /** Asks for timings in the reply. */
  timings: flag,
};
const samplingSchema = z.looseObject(samplingFields);
export type SamplingFields = z.output<typeof samplingSchema>;

/** The engine's options of one answer, but for its prompt. */
export type EngineOptions = Pick<
  GenerateRequest,
  "maxTokens" | "minTokens" | "stop" | "logprobs" | "grammar" | "caller" | "cacheSalt"
> & { readonly sampling: SamplingParameters };

/** What a request says beside the fields that all have. */
export interface Wanted {
  /** Answers to each prompt. */
  readonly answers: number;
  readonly maxTokens: number | undefined;
  /** Alternatives to report per token, undefined for no logprobs. */
  readonly logprobs: number | undefined;
  readonly grammar: GrammarFormat | undefined;
}

/**
 * The engine's options of each answer to a prompt: they differ in their seeds, which are drawn by `chance` where the request has none.
 * The one place that knows the engine's names.
 */
export function engineOptionsOf(
  fields: SamplingFields,
  { answers, maxTokens, logprobs, grammar }: Wanted,
  chance: () => number,
): readonly EngineOptions[] {
  // The engine's seeds are not negative.
  const seed = fields.seed == null ? Math.floor(chance() * 2 ** 48) : Math.abs(fields.seed) % 2 ** 52;
  const { stop, user, cache_salt: cacheSalt, min_tokens: minTokens } = fields;
  if (minTokens != null && maxTokens !== undefined && minTokens > maxTokens)
    throw invalid("min_tokens", "it is above the most tokens that the answer may have.");
  return Array.from({ length: answers }, (_, choice) => ({
    sampling: {
      temperature: fields.temperature ?? 1,
      // Nothing but the best token: the engine has no share of nothing.
      topP: fields.top_p === 0 ? Number.EPSILON : (fields.top_p ?? 1),
      topK: Math.max(0, fields.top_k ?? 0),
      minP: fields.min_p ?? 0,
      repetitionPenalty: fields.repetition_penalty ?? 1,
      presencePenalty: fields.presence_penalty ?? 0,
      frequencyPenalty: fields.frequency_penalty ?? 0,
      logitBias: fields.logit_bias ?? {},
      seed: choiceSeed(seed, choice),
    },
    stop: stop == null ? [] : typeof stop === "string" ? [stop] : stop,
    ...(maxTokens === undefined ? {} : { maxTokens }),
    ...(minTokens == null ? {} : { minTokens }),
    ...(logprobs === undefined ? {} : { logprobs }),
    ...(grammar === undefined ? {} : { grammar }),
    // Users take turns, and share no prompts unless a salt says so.
    ...(user == null || user === "" ? {} : { caller: user }),
    ...(cacheSalt == null ? {} : { cacheSalt }),
  }));
}

/** Fields that are known elsewhere and mean something that this server doesn't do. */
export function refuseFields(body: Readonly<Record<string, unknown>>, why: Readonly<Record<string, string>>): void {
  for (const [field, reason] of Object.entries(why)) {
    const value = body[field];
    if (value !== undefined && value !== null && value !== false) throw unsupported(field, reason);
  }
}

/** Of fields that are known, the values that this server does justice to; others are refused. */
export function refuseOthers(
  body: Readonly<Record<string, unknown>>,
  fine: Readonly<Record<string, readonly string[]>>,
): void {
  for (const [field, values] of Object.entries(fine)) {
    const value = body[field];
    if (value == null || (values as readonly unknown[]).includes(value)) continue;
    throw unsupported(field, `this server takes ${values.map((each) => `"${each}"`).join(" or ")} only.`);
  }
}

/** Which stream options make sense without a stream: none, as OpenAI has it. */
export function wantsUsage(fields: SamplingFields): boolean {
  if (fields.stream_options != null && fields.stream !== true)
    throw invalid("stream_options", "it is only allowed when 'stream' is true.");
  return fields.stream_options?.include_usage === true;
}
