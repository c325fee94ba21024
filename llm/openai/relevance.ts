/**
 * `/v1/rerank` and `/v1/score`, in the forms of vLLM, Jina and Cohere: how near texts are to each other, by the cosine of their vectors. Each text is
 * read by itself, so it says less than a cross-encoder would. Pure.
 */
import * as z from "zod";
import { OPENAI_INPUTS_MAX } from "../../protocol/limits.ts";
import { jsonHead, type Answer } from "./answer.ts";
import { newId, type Surroundings } from "./choices.ts";
import { mustEmbed, type Embedder } from "./embeddings.ts";
import { invalid } from "./errors.ts";
import { flag, read, text, whole } from "./fields.ts";
import { refuseFields } from "./sampling.ts";

const said = z.string().min(1, "expected a text that is not empty");
const someTexts = z.union(
  [said, z.array(said).min(1).max(OPENAI_INPUTS_MAX)],
  `expected a text, or up to ${OPENAI_INPUTS_MAX}`,
);
/** -1 for what the model takes. */
const truncates = z.literal(-1, "expected -1").nullish();

const rerankSchema = z.looseObject({
  query: said,
  documents: z
    .array(z.union([said, z.looseObject({ text: said })], "expected texts, or objects with a 'text'"))
    .min(1, "expected at least one text")
    .max(OPENAI_INPUTS_MAX - 1),
  top_n: whole(0),
  return_documents: flag,
  truncate_prompt_tokens: truncates,
  user: text,
});
const scoreSchema = z.looseObject({
  text_1: someTexts,
  text_2: someTexts,
  truncate_prompt_tokens: truncates,
  user: text,
});

/** Of a model that reads both texts together. */
const NOT_HERE = {
  activation: "a score is the cosine of two vectors.",
  max_tokens_per_doc: "give 'truncate_prompt_tokens': -1, which cuts to what the model takes.",
  rank_fields: "give each document as one text.",
};

/** What answers are made of beside the request. */
interface Served {
  readonly model: string;
  /** Undefined: this model answers chats. */
  readonly embedder: Embedder | undefined;
  readonly signal: AbortSignal | undefined;
  readonly surroundings: Surroundings;
}

/** The documents by their nearness to the query, nearest first. */
export async function* rerank(body: unknown, served: Served): Answer {
  const fields = read(rerankSchema, body);
  refuseFields(fields, NOT_HERE);
  const documents = fields.documents.map((given) => (typeof given === "string" ? given : given.text));
  const { vectors, usage } = await vectorsOf([fields.query, ...documents], fields, served);
  const [query, ...others] = vectors as [Float32Array, ...Float32Array[]];
  const results = others
    .map((vector, index) => ({
      index,
      ...(fields.return_documents === false ? {} : { document: { text: documents[index]! } }),
      relevance_score: cosine(query, vector),
    }))
    .toSorted((a, b) => b.relevance_score - a.relevance_score);
  yield jsonHead();
  yield JSON.stringify({
    id: newId("rerank-", served.surroundings),
    model: served.model,
    usage,
    // As vLLM has it: 0 for all.
    results: results.slice(0, fields.top_n || undefined),
  });
}

/** A score for each pair: of texts in the same place, or of the only first text with each of the second ones. */
export async function* score(body: unknown, served: Served): Answer {
  const fields = read(scoreSchema, body);
  refuseFields(fields, NOT_HERE);
  const [first, second] = [fields.text_1, fields.text_2].map((given) => [given].flat()) as [string[], string[]];
  if (first.length !== 1 && first.length !== second.length)
    throw invalid("text_1", `expected one text, or as many as 'text_2' has: ${second.length}, not ${first.length}.`);
  if (first.length + second.length > OPENAI_INPUTS_MAX)
    throw invalid("text_2", `at most ${OPENAI_INPUTS_MAX} texts in both fields together.`);
  const { vectors, usage } = await vectorsOf([...first, ...second], fields, served);
  const scores = second.map((_, at) => cosine(vectors[first.length === 1 ? 0 : at]!, vectors[first.length + at]!));
  yield jsonHead();
  yield JSON.stringify({
    id: newId("score-", served.surroundings),
    object: "list",
    created: Math.floor(served.surroundings.now() / 1_000),
    model: served.model,
    data: scores.map((value, index) => ({ index, object: "score", score: value })),
    usage,
  });
}

async function vectorsOf(
  texts: readonly string[],
  fields: { readonly truncate_prompt_tokens?: -1 | null | undefined },
  { model, embedder, signal }: Served,
) {
  const { vectors, tokens } = await mustEmbed(embedder, model).embed(texts, {
    truncates: fields.truncate_prompt_tokens === -1,
    ...(signal === undefined ? {} : { signal }),
  });
  return { vectors, usage: { prompt_tokens: tokens, total_tokens: tokens } };
}

/** Of two vectors of any length; 0 where one of them has none. */
function cosine(a: Float32Array, b: Float32Array): number {
  const dot = (x: Float32Array, y: Float32Array): number => x.reduce((sum, value, at) => sum + value * y[at]!, 0);
  const lengths = Math.sqrt(dot(a, a) * dot(b, b));
  return lengths === 0 ? 0 : dot(a, b) / lengths;
}
