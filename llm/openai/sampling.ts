/**
 * How the next token is chosen: from OpenAI's fields (and vLLM's extras) to the engine's names. The one place that knows what the engine
 * can't do yet: such a field is refused by its name instead of being ignored.
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

/** The engine's names. Those that equal their default leave things as they are. */
interface EngineSampling extends Omit<SamplingParameters, "seed"> {
  readonly presencePenalty: number;
  readonly frequencyPenalty: number;
  readonly logitBias: Readonly<Record<number, number>>;
  readonly minTokens: number;
  /** Alternatives to report per token; undefined: no logprobs at all. */
  readonly topLogprobs: number | undefined;
}

/** What the engine can't do yet: name there, field here, and the value that asks for nothing. */
const NOT_YET: readonly (readonly [keyof EngineSampling, string, (value: never) => boolean])[] = [
  ["presencePenalty", "presence_penalty", (value: number) => value === 0],
  ["frequencyPenalty", "frequency_penalty", (value: number) => value === 0],
  ["logitBias", "logit_bias", (value: object) => Object.keys(value).length === 0],
  ["minTokens", "min_tokens", (value: number) => value === 0],
  ["topLogprobs", "logprobs", (value: number | undefined) => value === undefined],
];

/**
 * The engine's options but the seed. Throws a 400 that names a field which the engine can't honour.
 * @param topLogprobs alternatives asked for per token, undefined for no logprobs
 */
export function samplingOf(fields: SamplingFields, topLogprobs: number | undefined): Omit<SamplingParameters, "seed"> {
  const wanted: EngineSampling = {
    temperature: fields.temperature ?? 1,
    // Nothing but the best token: the engine has no share of nothing.
    topP: fields.top_p === 0 ? Number.EPSILON : (fields.top_p ?? 1),
    topK: Math.max(0, fields.top_k ?? 0),
    minP: fields.min_p ?? 0,
    repetitionPenalty: fields.repetition_penalty ?? 1,
    presencePenalty: fields.presence_penalty ?? 0,
    frequencyPenalty: fields.frequency_penalty ?? 0,
    logitBias: fields.logit_bias ?? {},
    minTokens: fields.min_tokens ?? 0,
    topLogprobs,
  };
  for (const [name, field, isNothing] of NOT_YET)
    if (!isNothing(wanted[name] as never)) throw unsupported(field, "this engine doesn't have it yet.");
  const { temperature, topP, topK, minP, repetitionPenalty } = wanted;
  return { temperature, topP, topK, minP, repetitionPenalty };
}

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
