import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Embedder, type EncoderBatch } from "../../engine/embedder.ts";
import { CheckpointError } from "../../engine/gguf/error.ts";
import { EMBED_RUN_TOKENS, EMBED_TEXTS_MAX } from "../../engine/limits.ts";
import { loadEmbedder } from "../../engine/node/load-embedder.ts";
import { referenceEmbedding } from "../../engine/reference/encoder.ts";
import { openEncoderRepository } from "../../engine/safetensors/encoder.ts";
import { makeTinyEncoder, TINY_ENCODER } from "../support/tiny-encoder.ts";
import { filesOf } from "../support/tiny-repository.ts";

// The runtime reads the process's environment when it loads; test processes are ours to set.
process.env["ORT_DISABLE_TELEMETRY"] = "1";

const tiny = makeTinyEncoder();
const TEXTS = ["the river", "", "A stone, a mesh.", "stones gpu unknown ab", "the a b the river, stone ".repeat(9)];

/** A run that says what it was given, and an embedder over it. */
async function recorded() {
  const { checkpoint } = await openEncoderRepository(filesOf(tiny.contents));
  const batches: EncoderBatch[] = [];
  const width = TINY_ENCODER.embedding;
  const embedder = new Embedder(checkpoint, async (batch) => {
    batches.push(batch);
    // Each row's vector begins with how many tokens it has.
    const values = new Float32Array(batch.rows * width);
    for (let row = 0; row < batch.rows; row++)
      values[row * width] = batch.mask
        .subarray(row * batch.sequence, (row + 1) * batch.sequence)
        .reduce((a, b) => a + b, 0);
    return values;
  });
  return { embedder, batches };
}

test("texts become ids with the tokens around them; what is too long loses its end", async () => {
  const { embedder } = await recorded();
  expect(embedder.encode("The rivers")).toEqual([2, 4, 5, 8, 3]);
  expect(embedder.encode("")).toEqual([2, 3]);
  expect(embedder.encode("zzz")).toEqual([2, 1, 3]);
  const long = embedder.encode(TEXTS[4]!);
  expect(long).toHaveLength(24);
  expect(long.at(-1)).toBe(3);
});

test("vectors come in the order of the texts, in runs of like length within the bound", async () => {
  const { embedder, batches } = await recorded();
  const texts = Array.from({ length: 600 }, (_, i) => "a ".repeat((i * 7) % 22).trim());
  const vectors = await embedder.embed(texts);
  vectors.forEach((vector, i) => expect(vector[0]).toBe(((i * 7) % 22) + 2));
  expect(batches.length).toBeGreaterThan(1);
  for (const { rows, sequence } of batches) expect(rows * sequence).toBeLessThanOrEqual(EMBED_RUN_TOKENS);
  await expect(embedder.embed(Array<string>(EMBED_TEXTS_MAX + 1).fill("a"))).rejects.toThrow("at most 2048 texts");
  await expect(embedder.embed(["a".repeat(1_000_001)])).rejects.toThrow("a text has 1000001 characters");
});

describe("the graph against plain arithmetic", () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "skein-encoder-"));
    for (const [name, bytes] of tiny.contents) {
      await mkdir(dirname(join(folder, name)), { recursive: true });
      await writeFile(join(folder, name), bytes);
    }
  });
  afterAll(() => rm(folder, { recursive: true }));

  test.each(["native", "wasm"] as const)("%s: padded rows of a batch are each the text alone", async (provider) => {
    const { embedder, release } = await loadEmbedder(folder, { provider, threads: 1 });
    try {
      const vectors = await embedder.embed(TEXTS);
      vectors.forEach((vector, i) => {
        const expected = referenceEmbedding(TINY_ENCODER, tiny.weights, embedder.encode(TEXTS[i]!));
        expect(vector).toHaveLength(expected.length);
        const worst = expected.reduce((most, value, c) => Math.max(most, Math.abs(value - vector[c]!)), 0);
        expect(worst, TEXTS[i]).toBeLessThan(1e-5);
      });
      const [first, other] = vectors as [Float32Array, Float32Array];
      expect(first.reduce((sum, value, c) => sum + value * other[c]!, 0)).toBeLessThan(0.95);
    } finally {
      await release();
    }
  });
});

test.each([
  ["config.json", { architectures: ["T5EncoderModel"] }, '"T5EncoderModel" is not supported; supported are BertModel'],
  ["config.json", { hidden_act: "relu" }, 'hidden_act "relu" is not supported'],
  ["config.json", { position_embedding_type: "relative_key" }, "position_embedding_type"],
  ["config.json", { num_attention_heads: 5 }, "5 heads don't divide 64"],
  ["tokenizer.json", { model: { type: "Unigram" } }, 'model "Unigram" is not supported in an encoder'],
  [
    "1_Pooling/config.json",
    { pooling_mode_max_tokens: true },
    "pooling_mode_mean_tokens and pooling_mode_max_tokens is not supported",
  ],
])("%s with %j is refused", async (file, change, message) => {
  const value = JSON.parse(Buffer.from(tiny.contents.get(file)!).toString()) as object;
  const contents = new Map(tiny.contents).set(
    file,
    new Uint8Array(Buffer.from(JSON.stringify({ ...value, ...change }))),
  );
  await expect(openEncoderRepository(filesOf(contents))).rejects.toThrow(message);
  await expect(openEncoderRepository(filesOf(contents))).rejects.toBeInstanceOf(CheckpointError);
});
