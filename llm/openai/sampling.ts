/** How the next token is chosen and when an answer ends: from OpenAI's fields (and vLLM's extras) to the engine's names. Pure. */
import * as z from "zod";
import { choiceSeed, type GenerateRequest, type GrammarFormat, type SamplingParameters } from "../../engine/index.ts";
import {
  ALLOWED_TOKENS_MAX,
  LOGIT_BIAS_TOKENS_MAX,
  STOP_STRING_CHARACTERS_MAX,
  STOP_STRINGS_MAX,
  STOP_TOKENS_MAX,
} from "../../engine/limits.ts";
import { OPENAI_LABEL_MAX } from "../../protocol/limits.ts";
import { invalid, unsupported } from "./errors.ts";
import { between, flag, text, whole } from "./fields.ts";
import { engineSeed } from "./seeds.ts";

/** A name of the caller's: the engine keeps it with what it remembers of prompts. */
const label = z.string().max(OPENAI_LABEL_MAX).nullish();
const stopText = z
  .string()
  .min(1, "a stop text must not be empty")
  .max(STOP_STRING_CHARACTERS_MAX, `a stop text has at most ${STOP_STRING_CHARACTERS_MAX} characters`);

const idsUpTo = (most: number) =>
  z.array(z.number().int().nonnegative()).max(most, `expected at most ${most} token ids`).nullish();

/** Of messages, which have no bound of their own: the engine's. */
export const stopTexts = z.array(stopText).max(STOP_STRINGS_MAX, `expected at most ${STOP_STRINGS_MAX} texts`);

/** Fields that chat and completions share. */
export const samplingFields = {
  model: text,
  temperature: between(0, 2),
  top_p: between(0, 1),
  seed: z.number().int("expected a whole number of at most 64 bits").nullish(),
  presence_penalty: between(-2, 2),
  frequency_penalty: between(-2, 2),
  logit_bias: z
    .record(z.string().regex(/^\d+$/, "expected token ids as keys"), z.number().min(-100).max(100))
    .refine(
      (biases) => Object.keys(biases).length <= LOGIT_BIAS_TOKENS_MAX,
      `expected at most ${LOGIT_BIAS_TOKENS_MAX} tokens`,
    )
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
  ignore_eos: flag,
  stop_token_ids: idsUpTo(STOP_TOKENS_MAX),
  allowed_token_ids: idsUpTo(ALLOWED_TOKENS_MAX),
  include_stop_str_in_output: flag,
  skip_special_tokens: flag,
  return_token_ids: flag,
  return_tokens_as_token_ids: flag,
  cache_salt: label,
  /** Asks for timings in the reply. */
  timings: flag,
};
const samplingSchema = z.looseObject(samplingFields);
export type SamplingFields = z.output<typeof samplingSchema>;

/** The engine's options of one answer, but for its prompt. */
export type EngineOptions = Pick<
  GenerateRequest,
  | "maxTokens"
  | "minTokens"
  | "stop"
  | "stopTokens"
  | "includesStop"
  | "ignoresEnd"
  | "allowedTokens"
  | "showsControl"
  | "logprobs"
  | "promptLogprobs"
  | "grammar"
  | "caller"
  | "cacheSalt"
> & { readonly sampling: SamplingParameters };

/** What a request says beside the fields that all have. */
export interface Wanted {
  /** Answers to each prompt. */
  readonly answers: number;
  readonly maxTokens: number | undefined;
  /** Alternatives to report per token, undefined for no logprobs. */
  readonly logprobs: number | undefined;
  /** The same of the prompt's tokens. */
  readonly promptLogprobs?: number | undefined;
  readonly grammar: GrammarFormat | undefined;
}

/**
 * The engine's options of each answer to a prompt: they differ in their seeds, which are drawn by `chance` where the request has none.
 * The one place that knows the engine's names.
 */
export function engineOptionsOf(
  fields: SamplingFields,
  { answers, maxTokens, logprobs, promptLogprobs, grammar }: Wanted,
  chance: () => number,
): readonly EngineOptions[] {
  const seed = fields.seed == null ? Math.floor(chance() * 2 ** 48) : engineSeed(fields.seed);
  refuseFields(fields, NOT_HERE);
  const { user, cache_salt: cacheSalt } = fields;
  const stop = fields.stop == null ? [] : typeof fields.stop === "string" ? [fields.stop] : fields.stop;
  const { min_tokens: minTokens, stop_token_ids: stopTokens, allowed_token_ids: allowedTokens } = fields;
  const restricts = allowedTokens != null && allowedTokens.length > 0;
  if (restricts && grammar !== undefined)
    throw invalid("allowed_token_ids", "an answer that is held to a form has its own.");
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
    stop,
    ...(maxTokens === undefined ? {} : { maxTokens }),
    ...(minTokens == null ? {} : { minTokens }),
    ...(stopTokens == null || stopTokens.length === 0 ? {} : { stopTokens }),
    ...(fields.include_stop_str_in_output === true ? { includesStop: true } : {}),
    ...(fields.ignore_eos === true ? { ignoresEnd: true } : {}),
    ...(restricts ? { allowedTokens } : {}),
    ...(fields.skip_special_tokens === false ? { showsControl: true } : {}),
    ...(logprobs === undefined ? {} : { logprobs }),
    ...(promptLogprobs === undefined ? {} : { promptLogprobs }),
    ...(grammar === undefined ? {} : { grammar }),
    // Users take turns, and share no prompts unless a salt says so.
    ...(user == null || user === "" ? {} : { caller: user }),
    ...(cacheSalt == null ? {} : { cacheSalt }),
  }));
}

/** vLLM's, of all endpoints that answer prompts. */
const NOT_HERE = {
  bad_words: "give tokens a 'logit_bias'.",
  use_beam_search: "this server samples.",
  truncate_prompt_tokens: "this server cuts no prompts.",
};

/** Fields that are known elsewhere and mean something that this server doesn't do. */
export function refuseFields(body: Readonly<Record<string, unknown>>, why: Readonly<Record<string, string>>): void {
  for (const [field, reason] of Object.entries(why)) {
    const value = body[field];
    const isNothing = value == null || value === false || (Array.isArray(value) && value.length === 0);
    if (!isNothing) throw unsupported(field, reason);
  }
}

/** Of fields that are known, the values that this server does justice to; others are refused. */
export function refuseOthers(
  body: Readonly<Record<string, unknown>>,
  fine: Readonly<Record<string, readonly (string | boolean)[]>>,
): void {
  for (const [field, values] of Object.entries(fine)) {
    const value = body[field];
    if (value == null || (values as readonly unknown[]).includes(value)) continue;
    throw unsupported(field, `this server takes ${values.map((each) => JSON.stringify(each)).join(" or ")} only.`);
  }
}

/** How often a stream tells the counts: never, once at its end, or (as vLLM has it) with every chunk as well. */
export type UsageAsked = "never" | "end" | "always";

/** Without a stream no stream options make sense, as OpenAI has it. */
export function usageAsked(fields: SamplingFields): UsageAsked {
  const { stream_options: options } = fields;
  if (options != null && fields.stream !== true)
    throw invalid("stream_options", "it is only allowed when 'stream' is true.");
  if (options?.include_usage !== true) return "never";
  return options.continuous_usage_stats === true ? "always" : "end";
}

/** How ids of tokens are told. Throws a 400 where a stream should list them: its pieces are text, which may be of half a token or of several. */
export function idsAsked(fields: SamplingFields): { readonly listsTokens?: true; readonly namesById?: true } {
  if (fields.return_token_ids === true && fields.stream === true)
    throw invalid("return_token_ids", "it is only allowed when 'stream' is false.");
  return {
    ...(fields.return_token_ids === true ? { listsTokens: true } : {}),
    ...(fields.return_tokens_as_token_ids === true ? { namesById: true } : {}),
  };
}
