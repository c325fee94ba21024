/** `/v1/embeddings`: the request's and the reply's form. Pure. */
import * as z from "zod";
import { OPENAI_INPUTS_MAX } from "../../protocol/limits.ts";
import type { EngineGraph } from "../host.ts";
import { jsonHead, type Answer } from "./answer.ts";
import { tokenIds } from "./completions.ts";
import { ApiError, invalid } from "./errors.ts";
import { read, text, whole } from "./fields.ts";

/** A model that makes vectors of texts, for who calls it off. */
export type Embedder = Pick<EngineGraph, "embed">;

const embeddingSchema = z.looseObject({
  model: text,
  input: z.union(
    [
      z.string().min(1, "expected a text that is not empty"),
      tokenIds,
      z
        .array(z.union([z.string().min(1, "expected texts that are not empty"), tokenIds]))
        .min(1)
        .max(OPENAI_INPUTS_MAX),
    ],
    `expected a text, token ids, or up to ${OPENAI_INPUTS_MAX} of these`,
  ),
  encoding_format: z.enum(["float", "base64"]).nullish(),
  dimensions: whole(1),
  /** As vLLM has it: -1 for what the model takes. */
  truncate_prompt_tokens: z.literal(-1, "expected -1").nullish(),
  user: text,
});

/** @param embedder undefined: this model answers chats */
export async function* embeddings(
  body: unknown,
  model: string,
  embedder: Embedder | undefined,
  signal: AbortSignal | undefined,
): Answer {
  const fields = read(embeddingSchema, body);
  const { input } = fields;
  const inputs = typeof input === "string" ? [input] : typeof input[0] === "number" ? [input as number[]] : input;
  const { vectors, tokens } = await mustEmbed(embedder, model).embed(inputs as (string | number[])[], {
    truncates: fields.truncate_prompt_tokens === -1,
    ...(signal === undefined ? {} : { signal }),
  });
  const width = vectors[0]!.length;
  const dimensions = fields.dimensions ?? width;
  if (dimensions > width) throw invalid("dimensions", `this model's vectors have ${width} numbers.`);
  const shown = vectors.map((vector) => shortened(vector, dimensions));
  yield jsonHead();
  yield JSON.stringify({
    object: "list",
    model,
    data: shown.map((vector, index) => ({
      object: "embedding",
      index,
      embedding: fields.encoding_format === "base64" ? base64Of(vector) : [...vector],
    })),
    usage: { prompt_tokens: tokens, total_tokens: tokens },
  });
}

/** Throws a 501 where the model makes no vectors. */
export function mustEmbed(embedder: Embedder | undefined, model: string): Embedder {
  if (embedder !== undefined) return embedder;
  throw new ApiError(501, `The model '${model}' doesn't make embeddings: name one that does.`, {
    param: "model",
    code: "unsupported_model",
  });
}

/** The first numbers of it, again of length 1 (Matryoshka embeddings; OpenAI's `dimensions`). */
function shortened(vector: Float32Array, dimensions: number): Float32Array {
  if (dimensions === vector.length) return vector;
  const head = vector.slice(0, dimensions);
  const norm = Math.hypot(...head);
  return norm === 0 ? head : head.map((value) => value / norm);
}

/** Little-endian 32-bit numbers, as OpenAI's clients decode them. */
function base64Of(vector: Float32Array): string {
  const bytes = new Uint8Array(vector.length * 4);
  const view = new DataView(bytes.buffer);
  vector.forEach((value, at) => view.setFloat32(at * 4, value, true));
  return bytes.toBase64();
}
