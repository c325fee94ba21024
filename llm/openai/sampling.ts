/**
 * How the next token is chosen: from OpenAI's fields (and vLLM's extras) to the engine's names. The one place that knows what the engine
 * can't do: such a field is refused by its name instead of being ignored.
 */
import * as z from "zod";
import type { SamplingParameters } from "../../engine/index.ts";
import { invalid, unsupported } from "./errors.ts";
import { between, flag, text, whole } from "./fields.ts";

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
  user: text,
  stream: flag,
  stream_options: z.looseObject({ include_usage: flag, continuous_usage_stats: flag }).nullish(),
  // Beyond OpenAI, as vLLM and others take them.
  top_k: whole(-1),
  min_p: between(0, 1),
  repetition_penalty: between(0.01, 100),
  min_tokens: whole(0),
  /** Asks for timings in the reply. */
  timings: flag,
};
const samplingSchema = z.looseObject(samplingFields);
export type SamplingFields = z.output<typeof samplingSchema>;

/**
 * The engine's options but the seed. Throws a 400 that names a field which the engine can't honour.
 * @param topLogprobs alternatives asked for per token, undefined for no logprobs
 */
export function samplingOf(fields: SamplingFields, topLogprobs: number | undefined): Omit<SamplingParameters, "seed"> {
  if (topLogprobs !== undefined) throw unsupported("logprobs", "this server doesn't have it yet.");
  return {
    temperature: fields.temperature ?? 1,
    // Nothing but the best token: the engine has no share of nothing.
    topP: fields.top_p === 0 ? Number.EPSILON : (fields.top_p ?? 1),
    topK: Math.max(0, fields.top_k ?? 0),
    minP: fields.min_p ?? 0,
    repetitionPenalty: fields.repetition_penalty ?? 1,
    presencePenalty: fields.presence_penalty ?? 0,
    frequencyPenalty: fields.frequency_penalty ?? 0,
    logitBias: fields.logit_bias ?? {},
  };
}

/** An answer has so many tokens at least, as far as it may have that many. */
export const minTokensOf = (
  { min_tokens }: Pick<SamplingFields, "min_tokens">,
  maxTokens: number | undefined,
): number => Math.min(min_tokens ?? 0, maxTokens ?? Number.POSITIVE_INFINITY);

export const stopOf = ({ stop }: SamplingFields): readonly string[] =>
  stop == null ? [] : typeof stop === "string" ? [stop] : stop;

/** The engine's seeds are not negative; a request without one gets `chance`. The i-th answer of a request has the i-th after it. */
export const seedOf = ({ seed }: SamplingFields, chance: () => number): number =>
  seed == null ? Math.floor(chance() * 2 ** 48) : Math.abs(seed) % 2 ** 52;

/** Fields that are known elsewhere and mean something that this server doesn't do. */
export function refuseFields(body: Readonly<Record<string, unknown>>, why: Readonly<Record<string, string>>): void {
  for (const [field, reason] of Object.entries(why)) {
    const value = body[field];
    if (value !== undefined && value !== null && value !== false) throw unsupported(field, reason);
  }
}

/** Which stream options make sense without a stream: none, as OpenAI has it. */
export function wantsUsage(fields: SamplingFields): boolean {
  if (fields.stream_options != null && fields.stream !== true)
    throw invalid("stream_options", "it is only allowed when 'stream' is true.");
  return fields.stream_options?.include_usage === true;
}
