/** `/v1/embeddings`: the request's and the reply's form, and the seam to whatever computes vectors. Pure. */
import * as z from "zod";
import { OPENAI_INPUTS_MAX } from "../../protocol/limits.ts";
import { jsonHead, type Answer } from "./answer.ts";
import { tokenIds } from "./completions.ts";
import { ApiError } from "./errors.ts";
import { read, text, whole } from "./fields.ts";

/** A model that makes vectors of texts. */
export interface Embedder {
  /** Length of its vectors. */
  readonly dimensions: number;
  /** One vector for each input, in order. An input that is too long is a RangeError. */
  embed(
    inputs: readonly (string | readonly number[])[],
    signal: AbortSignal | undefined,
  ): Promise<{ readonly vectors: readonly Float32Array[]; readonly promptTokens: number }>;
}

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
  if (embedder === undefined)
    throw new ApiError(501, `The model '${model}' doesn't make embeddings: name one that does.`, {
      param: "model",
      code: "unsupported_model",
    });
  const dimensions = fields.dimensions ?? embedder.dimensions;
  if (dimensions > embedder.dimensions)
    throw new ApiError(400, `Invalid 'dimensions': this model's vectors have ${embedder.dimensions} numbers.`, {
      param: "dimensions",
      code: "invalid_value",
    });
  const { input } = fields;
  const inputs = typeof input === "string" ? [input] : typeof input[0] === "number" ? [input as number[]] : input;
  const { vectors, promptTokens } = await embedder.embed(inputs as (string | number[])[], signal);
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
    usage: { prompt_tokens: promptTokens, total_tokens: promptTokens },
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
