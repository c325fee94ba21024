/** ONNX files as they come, behind a real engine thread on both CPU providers. */
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { EngineClient } from "../../engine/client.ts";
import { prepareCached } from "../../engine/node/prepared-cache.ts";
import { GraphBuilder } from "../../engine/onnx/graph.ts";
import type { Shapes } from "../../engine/graph-sample.ts";
import type { DataType } from "../../engine/onnx/messages.ts";
import { referenceEmbedding } from "../../engine/reference/encoder.ts";
import { spawnNodeEngine } from "../../engine/spawn-node.ts";
import type { TensorValue } from "../../engine/tensor.ts";
import type { LoadedGraph } from "../../engine/thread-messages.ts";
import { makeTinyEncoder, TINY_ENCODER } from "../support/tiny-encoder.ts";
import { affineGraph, onnxClassifier, onnxEncoder, writeRepository } from "../support/tiny-onnx.ts";

let folder: string;
beforeAll(async () => void (folder = await mkdtemp(join(tmpdir(), "skein-graphs-"))));
afterAll(() => rm(folder, { recursive: true }));
const clients: EngineClient[] = [];
afterEach(() => Promise.all(clients.splice(0).map((client) => client.close())));

const prepare = (file: string, target: "native" | "wasm" = "native") =>
  prepareCached({ file, target, cache: join(folder, "cache"), now: Date.now() });

async function open(file: string, provider: "native" | "wasm" = "native", warmUp: readonly Shapes[] = []) {
  const directory = await prepare(file, provider);
  const client = await EngineClient.start({ spawn: () => spawnNodeEngine(), after: () => () => {} });
  clients.push(client);
  const spec = { prepared: { [provider]: { directory } }, provider, threads: 1, slots: 1, slotLength: 2, warmUp };
  return { client, loaded: (await client.open(spec)) as LoadedGraph, directory };
}
const float = (dims: readonly number[], ...values: number[]): TensorValue => ({
  type: "float32",
  dims,
  data: Float32Array.from(values),
});

describe.each(["native", "wasm"] as const)("on %s", (provider) => {
  test("a single file: declared inputs and outputs, and what it computes", async () => {
    const file = join(folder, "affine.onnx");
    await writeFile(file, affineGraph());
    const { client, loaded } = await open(file, provider);
    expect(loaded).toEqual({
      kind: "graph",
      provider,
      notes: [],
      cpuNodes: [],
      inputs: [{ name: "x", type: "float32", shape: ["batch", 3] }],
      outputs: [
        { name: "y", type: "float32", shape: ["batch", 2] },
        { name: "sum", type: "float32", shape: ["batch"] },
      ],
      text: undefined,
    });
    // More at once than may run at once.
    const answers = await Promise.all([1, 2, 3].map((k) => client.run({ x: float([2, 3], k, 0, 0, 0, k, 0) })));
    for (const [i, answer] of answers.entries()) {
      const k = i + 1;
      expect(answer).toEqual({
        y: float([2, 2], k + 1, 2 * k + 1, 3 * k + 1, 4 * k + 1),
        sum: float([2], 3 * k + 2, 7 * k + 2),
      });
    }
    await expect(client.run({ x: float([2, 4], 1, 2, 3, 4, 5, 6, 7, 8) })).rejects.toThrow(/dimension/i);
    await expect(client.embed(["a"])).rejects.toThrow("takes tensors, not texts");
    await expect(client.generate({ prompt: "a" }).end).rejects.toThrow("answers no chats");
    expect((await client.run({ x: float([1, 3], 0, 0, 0) }))["y"]).toEqual(float([1, 2], 1, 1));
  });

  test("a folder in the layout of onnx-community makes embeddings: each is the text's alone", async () => {
    const { client, loaded } = await open(
      await writeRepository(join(folder, "encoder"), await onnxEncoder()),
      provider,
    );
    expect(loaded.text).toEqual({ task: "embedding", maxTokens: 24, labels: [], isMultiLabel: false });
    const texts = ["the river", "A stone, a mesh.", "a"];
    const { vectors } = await client.embed(texts);
    const { weights } = makeTinyEncoder();
    for (const [i, prompt] of texts.entries()) {
      const expected = referenceEmbedding(TINY_ENCODER, weights, [...(await client.tokenize({ prompt }))]);
      expect(Math.max(...expected.map((value, c) => Math.abs(value - vectors[i]![c]!)))).toBeLessThan(1e-5);
    }
  });
});

test("a classifier gets the inputs that it declares, and padding has no vote", async () => {
  const { client, loaded } = await open(await writeRepository(join(folder, "classifier"), onnxClassifier()));
  expect(loaded.text).toEqual({ task: "classification", maxTokens: 24, labels: ["DRY", "WET"], isMultiLabel: false });
  const { vectors } = await client.embed(["river river a stone", "stone", "a"]);
  expect(vectors.map((row) => [...row])).toEqual([
    [1, 2],
    [1, 0],
    [0, 0],
  ]);
});

test.each(["native", "wasm"] as const)("%s: every type of tensor goes in and comes out", async (provider) => {
  const graph = new GraphBuilder();
  // The emitter knows the types that it writes.
  const values: Partial<Record<DataType, TensorValue["data"]>> = {
    float32: Float32Array.of(1.5, -2),
    uint8: Uint8Array.of(1, 255),
    int8: Int8Array.of(-128, 127),
    int32: Int32Array.of(-1, 7),
    int64: BigInt64Array.of(-1n, 2n ** 60n),
    float16: Float16Array.of(0.5, -3),
  };
  for (const type of Object.keys(values) as DataType[]) {
    graph.input(type, type, ["n"]);
    graph.node("Identity", [type], [`${type}.out`]);
    graph.output(`${type}.out`, type, ["n"]);
  }
  const file = join(folder, "types.onnx");
  await writeFile(file, graph.finish().graph);
  const { client } = await open(file, provider);
  const feeds = Object.fromEntries(
    Object.entries(values).map(([type, data]) => [type, { type: type as TensorValue["type"], dims: [2], data }]),
  );
  const outputs = await client.run(feeds);
  for (const [name, value] of Object.entries(feeds)) expect([name, outputs[`${name}.out`]]).toEqual([name, value]);
});

test("what lies in the cache is a copy, the same for every provider, with what the graph needs", async () => {
  const path = await writeRepository(join(folder, "copied"), await onnxEncoder());
  const directory = await prepare(path);
  expect((await readdir(directory)).toSorted()).toEqual(["model.onnx", "prepared.json", "weights.bin"]);
  expect(await prepare(path, "wasm")).toBe(directory);
  // A graph by its file is the same as by its folder; another tokenizer makes another model.
  expect(await prepare(join(path, "onnx/model.onnx"))).toBe(directory);
  await writeFile(join(path, "config.json"), '{"vocab_size": 16}');
  expect(await prepare(path)).not.toBe(directory);
});

test("shapes to be run before are checked as any input, and run", async () => {
  const file = join(folder, "warm.onnx");
  await writeFile(file, affineGraph());
  await open(file, "native", [{ x: [1, 3] }, { x: [5, 3] }]);
  for (const [shapes, words] of [
    [{ x: [1, 4] }, "x has the shape [1, 4], expected x: float32[batch, 3]"],
    [{ y: [1] }, 'there is no input "y" to run before'],
    [{}, "The input x: float32[batch, 3] is missing"],
    [{ x: [1e9, 3] }, "[1000000000, 3] is no shape to run before"],
  ] as const)
    await expect(open(file, "native", [shapes])).rejects.toThrow(words);
  await expect(open(file, "native", Array<Shapes>(65).fill({ x: [1, 3] }))).rejects.toThrow("at most 64 are");
});

test("what can't be used is refused by its name; what texts don't give is for tensors", async () => {
  const files = await onnxEncoder();
  files.delete("onnx/weights.bin");
  const torn = await writeRepository(join(folder, "torn"), files);
  await expect(prepare(torn)).rejects.toThrow("has tensors in weights.bin, which isn't beside it");
  const config = new Uint8Array(Buffer.from('{"architectures":["MambaForCausalLM"]}'));
  const chat = await writeRepository(
    join(folder, "chat"),
    new Map([
      ["config.json", config],
      ["onnx/model.onnx", affineGraph()],
    ]),
  );
  await expect(prepare(chat)).rejects.toThrow('the model\'s architecture "MambaForCausalLM" is not supported');
  expect(await prepare(join(chat, "onnx/model.onnx"))).toContain("cache");
  const strange = new GraphBuilder();
  strange.input("pixel_values", "float32", ["batch", 3]);
  strange.node("Identity", ["pixel_values"], ["last_hidden_state"]);
  strange.output("last_hidden_state", "float32", ["batch", 3]);
  const image = onnxClassifier().set("onnx/model.onnx", strange.finish().graph);
  const { loaded } = await open(await writeRepository(join(folder, "image"), image));
  expect(loaded.text).toBeUndefined();
});
