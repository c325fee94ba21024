import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { EngineClient } from "../../engine/client.ts";
import { Embedder, type EncoderBatch } from "../../engine/embedder.ts";
import { CheckpointError } from "../../engine/gguf/error.ts";
import type { TextModel } from "../../engine/graph-model.ts";
import { EMBED_RUN_TOKENS, EMBED_TEXTS_MAX, EMBED_WAITING_TEXTS_MAX } from "../../engine/limits.ts";
import { prepareCached } from "../../engine/node/prepared-cache.ts";
import { spawnNodeEngine } from "../../engine/spawn-node.ts";
import { EngineFullError, PromptTooLongError } from "../../engine/refusals.ts";
import { referenceEmbedding } from "../../engine/reference/encoder.ts";
import { openEncoderRepository } from "../../engine/safetensors/encoder.ts";
import { makeTinyEncoder, TINY_ENCODER } from "../support/tiny-encoder.ts";
import { filesOf } from "../support/tiny-repository.ts";

const tiny = makeTinyEncoder();
const TEXTS = ["the river", "", "A stone, a mesh.", "stones gpu unknown ab", "the a b the river, stone ".repeat(9)];

const LONG = TEXTS[4]!;
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** An embedder whose run says what it was given: each row begins with how many tokens it has. */
async function recorded(run?: (batch: EncoderBatch) => Promise<Float32Array>, maxTokens?: number) {
  const { checkpoint } = await openEncoderRepository(filesOf(tiny.contents));
  const { config, tokenizerJson } = checkpoint;
  const text = {
    tokenizerJson,
    tokenizerConfig: { tokenizer_class: "BertTokenizer" },
    maxTokens: maxTokens ?? config.maxTokens,
    vocabulary: config.vocabulary,
    padToken: 0,
  } as unknown as TextModel;
  const batches: EncoderBatch[] = [];
  const embedder = new Embedder(
    text,
    async (batch) => {
      batches.push(batch);
      if (run !== undefined) return run(batch);
      const { rows, sequence, mask } = batch;
      return Float32Array.from({ length: rows * 2 }, (_, at) =>
        at % 2 === 1 ? 0 : mask.subarray((at / 2) * sequence, (at / 2 + 1) * sequence).reduce((a, b) => a + b, 0),
      );
    },
    turn,
  );
  return { embedder, batches };
}
const lengthsOf = ({ rows, sequence, mask }: EncoderBatch): number[] =>
  Array.from({ length: rows }, (_, row) =>
    mask.subarray(row * sequence, (row + 1) * sequence).reduce((a, b) => a + b, 0),
  );
const words = (count: number): string => "a ".repeat(count).trim();

test("texts become ids with the tokens around them, and ids texts", async () => {
  const { embedder } = await recorded();
  expect(embedder.encode("The rivers")).toEqual([2, 4, 5, 8, 3]);
  expect(embedder.encode("")).toEqual([2, 3]);
  expect(embedder.encode("zzz")).toEqual([2, 1, 3]);
  expect(embedder.decode([2, 4, 5, 8, 3])).toBe("the rivers");
});

test("what is too long is refused, or loses its end where that is asked for", async () => {
  const { embedder, batches } = await recorded();
  const refused = embedder.embed(["a", LONG]);
  await expect(refused).rejects.toBeInstanceOf(PromptTooLongError);
  await expect(refused).rejects.toThrow("input 1 has 65 tokens; this model takes 24");
  await expect(embedder.embed([Array<number>(25).fill(4)])).rejects.toThrow("input 0 has 25 tokens");
  expect(batches).toEqual([]);
  const { vectors, tokens } = await embedder.embed([LONG, Array<number>(25).fill(4)], { truncates: true });
  expect([vectors[0]![0], vectors[1]![0], tokens]).toEqual([24, 24, 48]);
  const [batch] = batches as [EncoderBatch];
  expect([...batch.ids].filter((id) => id === 3)).toHaveLength(1);
  expect(batch.ids[23]).toBe(3);
});

test("what can't be tokens of this model is refused by its place", async () => {
  const { embedder } = await recorded();
  for (const id of [-1, 16, 1.5])
    await expect(embedder.embed([[4], [id]])).rejects.toThrow(`input 1 has the token ${id}`);
  await expect(embedder.embed([[]])).rejects.toThrow("input 0 has no tokens");
  await expect(embedder.embed(Array<string>(EMBED_TEXTS_MAX + 1).fill("a"))).rejects.toThrow("at most 2048 texts");
  await expect(embedder.embed(["a".repeat(1_000_001)])).rejects.toThrow("a text has 1000001 characters");
});

test("vectors come in the order of the texts, in runs within the bound", async () => {
  const { embedder, batches } = await recorded();
  const texts = Array.from({ length: 600 }, (_, i) => words((i * 7) % 22));
  const { vectors, tokens } = await embedder.embed(texts);
  vectors.forEach((vector, i) => expect(vector[0]).toBe(((i * 7) % 22) + 2));
  expect(tokens).toBe(texts.reduce((sum, _, i) => sum + ((i * 7) % 22) + 2, 0));
  expect(batches.length).toBeGreaterThan(1);
  for (const { rows, sequence } of batches) expect(rows * sequence).toBeLessThanOrEqual(EMBED_RUN_TOKENS);
});

test("calls that come together share runs; a long text isn't padding's reason", async () => {
  const { embedder, batches } = await recorded();
  const ids = (count: number): number[] => Array<number>(count).fill(4);
  const answers = await Promise.all([
    embedder.embed([ids(24), ids(5)]),
    embedder.embed([ids(7)]),
    embedder.embed(["a", ids(23)]),
  ]);
  expect(answers.map(({ vectors }) => vectors.map(([length]) => length))).toEqual([[24, 5], [7], [3, 23]]);
  // 16 and less count alike.
  expect(batches.map(lengthsOf)).toEqual([[24, 5, 7, 23, 3]]);
});

test("a text joins a run whose rows are up to twice as long, and none that are longer", async () => {
  const { embedder, batches } = await recorded(undefined, 200);
  const ids = (count: number): number[] => Array<number>(count).fill(4);
  await embedder.embed([ids(39), ids(80), ids(40), ids(16), ids(3)]);
  expect(batches.map(lengthsOf)).toEqual([[80, 40], [39], [16, 3]]);
});

test("a call of many texts lets others in between its runs", async () => {
  const { embedder, batches } = await recorded();
  const many = embedder.embed(Array<string>(2_000).fill(words(20)));
  while (batches.length === 0) await turn();
  await embedder.embed([words(9)]);
  expect(batches.length).toBeLessThan(5);
  expect((await many).vectors).toHaveLength(2_000);
  expect(batches.length).toBeGreaterThan(40);
});

test("a call that is called off takes no more runs; others go on", async () => {
  const { embedder, batches } = await recorded();
  const leaving = new AbortController();
  const many = embedder.embed(Array<string>(2_000).fill(words(20)), { signal: leaving.signal });
  const other = embedder.embed([words(3)]);
  while (batches.length === 0) await turn();
  leaving.abort(new Error("left"));
  await expect(many).rejects.toThrow("left");
  await expect(embedder.embed(["a"], { signal: leaving.signal })).rejects.toThrow("left");
  await other;
  expect(batches.length).toBeLessThan(6);
});

test("more than what may wait is answered at once, until there is room again", async () => {
  const { embedder } = await recorded();
  const calls = Array.from({ length: EMBED_WAITING_TEXTS_MAX / 1_024 }, () =>
    embedder.embed(Array<string>(1_024).fill("a")),
  );
  await expect(embedder.embed(["a"])).rejects.toBeInstanceOf(EngineFullError);
  await Promise.all(calls);
  expect((await embedder.embed(["a"])).vectors).toHaveLength(1);
});

test("a run that fails, or gives what is no number, rejects the calls in it and no others", async () => {
  const failing = await recorded(async () => Promise.reject(new Error("out of memory")));
  await expect(failing.embedder.embed(["a"])).rejects.toThrow("out of memory");
  let run = 0;
  const { embedder } = await recorded(async ({ rows }) => new Float32Array(rows).fill(run++ === 0 ? NaN : 1));
  await expect(embedder.embed(["a"])).rejects.toThrow("not finite");
  expect((await embedder.embed(["a"])).vectors).toEqual([Float32Array.of(1)]);
});

describe("the graph against plain arithmetic", () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "skein-encoder-"));
    for (const [name, bytes] of tiny.contents) {
      await mkdir(dirname(join(folder, "model", name)), { recursive: true });
      await writeFile(join(folder, "model", name), bytes);
    }
  });
  afterAll(() => rm(folder, { recursive: true }));

  test.each(["native", "wasm"] as const)("%s: padded rows of a batch are each the text alone", async (provider) => {
    const directory = await prepareCached({
      file: join(folder, "model"),
      target: provider,
      cache: join(folder, "cache"),
      now: Date.now(),
    });
    const client = await EngineClient.start({ spawn: () => spawnNodeEngine(), after: () => () => {} });
    try {
      const loaded = await client.open({
        prepared: { [provider]: { directory } },
        provider,
        threads: 1,
        slots: 1,
        slotLength: 2,
      });
      expect(loaded).toMatchObject({ kind: "graph", provider, text: { task: "embedding", maxTokens: 24, labels: [] } });
      const { vectors } = await client.embed(TEXTS, { truncates: true });
      const encoded = await Promise.all(TEXTS.map((prompt) => client.tokenize({ prompt })));
      const promptTokens = encoded.reduce((sum, { length }) => sum + Math.min(24, length), 0);
      const idle = { kind: "graph", running: 0, waiting: 0 };
      expect(await client.stats()).toMatchObject({ ...idle, promptTokens, finished: { stop: 1, cancelled: 0 } });
      vectors.forEach((vector, i) => {
        const ids = encoded[i]!.length <= 24 ? encoded[i]! : [...encoded[i]!.slice(0, 23), 3];
        const expected = referenceEmbedding(TINY_ENCODER, tiny.weights, ids);
        expect(vector).toHaveLength(expected.length);
        const worst = expected.reduce((most, value, c) => Math.max(most, Math.abs(value - vector[c]!)), 0);
        expect(worst, TEXTS[i]).toBeLessThan(1e-5);
      });
      const [first, other] = vectors as [Float32Array, Float32Array];
      expect(first.reduce((sum, value, c) => sum + value * other[c]!, 0)).toBeLessThan(0.95);
      await expect(client.embed([LONG])).rejects.toBeInstanceOf(PromptTooLongError);
      expect(await client.detokenize([2, 4, 5, 8, 3])).toBe("the rivers");
      await expect(client.generate({ prompt: "a" }).end).rejects.toThrow("answers no chats");
      // What is called off makes room in the thread.
      const leaving = new AbortController();
      const many = Array.from({ length: EMBED_WAITING_TEXTS_MAX / EMBED_TEXTS_MAX }, () =>
        client.embed(Array<string>(EMBED_TEXTS_MAX).fill(words(20)), { signal: leaving.signal }),
      );
      await expect(client.embed(["a"])).rejects.toBeInstanceOf(EngineFullError);
      leaving.abort(new Error("left"));
      const left = await Promise.allSettled(many);
      for (const call of left) expect(call).toMatchObject({ status: "rejected", reason: { message: "left" } });
      expect(await client.stats()).toMatchObject({ waiting: 0, finished: { stop: 1, cancelled: many.length } });
      expect((await client.embed(Array<string>(EMBED_TEXTS_MAX).fill("a"))).vectors).toHaveLength(EMBED_TEXTS_MAX);
      await expect(client.embed(TEXTS, { signal: AbortSignal.abort(new Error("left")) })).rejects.toThrow("left");
    } finally {
      await client.close();
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
