import { afterEach, expect, test } from "vitest";
import { PromptTooLongError, type Tensors } from "../../../engine/index.ts";
import type { EngineGraph, EngineModel, ModelRequest } from "../../../llm/host.ts";
import { OnnxModel, tensor, type OnnxOptions } from "../../../llm/onnx/index.ts";
import { ONNX_CALLS_MAX } from "../../../protocol/limits.ts";
import { runtime } from "../../../serve/runtime.ts";

afterEach(() => void delete runtime().engine);

/** y = x + 1, row by row. */
function fake(changes: Partial<EngineGraph> = {}) {
  const ran: Tensors[] = [];
  const asked: ModelRequest[] = [];
  let closed = 0;
  const graph: EngineGraph = {
    kind: "graph",
    provider: "native",
    cpuNodes: [],
    inputs: [{ name: "x", type: "float32", shape: ["batch", 2] }],
    outputs: [{ name: "y", type: "float32", shape: ["batch", 2] }],
    text: undefined,
    embed: async () => ({ vectors: [], tokens: 0 }),
    async run(feeds) {
      ran.push(feeds);
      const x = feeds["x"]!;
      if (Number.isNaN(x.data[0])) throw new Error("not a number");
      return { y: { ...x, data: (x.data as Float32Array).map((value) => value + 1) } };
    },
    tokenize: async () => [],
    stats: async () => undefined,
    detokenize: async () => "",
    close: async () => void closed++,
    ...changes,
  };
  runtime().engine = { load: async (request) => (asked.push(request), graph) };
  return { ran, asked, isClosed: () => closed === 1, load: (options?: OnnxOptions) => OnnxModel.load("m", options) };
}
const row = (...values: number[]) => ({ x: tensor("float32", values, [values.length / 2, 2]) });
const result = (...values: number[]) => ({ y: tensor("float32", values, [values.length / 2, 2]) });

test("calls at a time are one run, each with its own rows; more rows than the bound are more runs", async () => {
  const { ran, asked, load } = fake();
  const model = await load({ maxBatch: 3, device: "native" });
  expect(asked[0]).toMatchObject({ name: "m", device: "native" });
  const answers = await Promise.all([model.run(row(1, 2)), model.run(row(3, 4, 5, 6)), model.run(row(7, 8))]);
  expect(answers).toEqual([result(2, 3), result(4, 5, 6, 7), result(8, 9)]);
  expect(ran.map(({ x }) => x!.dims)).toEqual([
    [3, 2],
    [1, 2],
  ]);
  // More than the bound in one call is that caller's wish.
  expect(await model.run(row(1, 2, 3, 4, 5, 6, 7, 8))).toEqual(result(2, 3, 4, 5, 6, 7, 8, 9));
});

test("what fails is told to those in that run; who has left is not run", async () => {
  const { ran, load } = fake();
  const model = await load({ maxBatch: 3, batchWaitMs: 5 });
  const leaving = new AbortController();
  const calls = [model.run(row(NaN, 1)), model.run(row(1, 2), { signal: leaving.signal })];
  leaving.abort(new Error("left"));
  const [failed, left] = await Promise.allSettled(calls);
  expect([failed, left]).toMatchObject([{ reason: { message: "not a number" } }, { reason: { message: "left" } }]);
  expect(ran).toHaveLength(1);
  expect(await model.run(row(1, 2))).toEqual(result(2, 3));
  await expect(model.run(row(1, 2), { signal: leaving.signal })).rejects.toThrow("left");
});

test("more calls than may wait are refused at once, until there is room again", async () => {
  const { load } = fake();
  const model = await load({ maxBatch: 4_096 });
  const calls = Array.from({ length: ONNX_CALLS_MAX }, () => model.run(row(1, 2)));
  await expect(model.run(row(1, 2))).rejects.toMatchObject({ code: "BUSY" });
  await Promise.all(calls);
  expect(await model.run(row(1, 2))).toEqual(result(2, 3));
});

test("graphs without a batch axis, and those that are not to be batched, run call by call", async () => {
  for (const [changes, options] of [
    [{ outputs: [{ name: "y", type: "float32", shape: [1, 2] }] }, {}],
    [{ outputs: [{ name: "y", type: "float32", shape: ["other", 2] }] }, {}],
    [{ inputs: [{ name: "x", type: "float32", shape: [1, 2] }] }, { maxBatch: 4 }],
    [{}, { maxBatch: 1 }],
  ] as const) {
    const { ran, load } = fake(changes);
    const model = await load(options);
    await Promise.all([model.run(row(1, 2)), model.run(row(3, 4))]);
    expect(ran).toHaveLength(2);
  }
});

test("a graph that doesn't say so is batched where its user does", async () => {
  const { ran, load } = fake({ outputs: [{ name: "y", type: "float32", shape: ["other", 2] }] });
  const model = await load({ maxBatch: 4 });
  await Promise.all([model.run(row(1, 2)), model.run(row(3, 4))]);
  expect(ran).toHaveLength(1);
});

test("shapes to warm up are the engine's business", async () => {
  const { asked, load } = fake();
  await load({ warmUp: [{ x: [1, 2] }] });
  expect(asked[0]).toMatchObject({ warmUp: [{ x: [1, 2] }] });
});

test("options that make no sense are refused before anything is loaded", async () => {
  const { asked, load } = fake();
  for (const [options, words] of [
    [{ maxBatch: 0 }, "maxBatch must be a whole number from 1"],
    [{ maxBatch: 1.5 }, "maxBatch"],
    [{ batchWaitMs: -1 }, "batchWaitMs must be from 0"],
  ] as const)
    await expect(load(options)).rejects.toThrow(words);
  expect(asked).toEqual([]);
  delete runtime().engine;
  await expect(load()).rejects.toThrow("runs inside a replica");
});

test("a language model is refused, and let go", async () => {
  let closed = 0;
  runtime().engine = { load: async () => ({ close: async () => void closed++ }) as unknown as EngineModel };
  await expect(OnnxModel.load("chat")).rejects.toThrow('"chat" is a language model');
  expect(closed).toBe(1);
});

test("texts become vectors or classes, by what the model is", async () => {
  const text = { maxTokens: 8, labels: ["no", "yes"], isMultiLabel: false };
  const embed: EngineGraph["embed"] = async (inputs) => {
    if (inputs.includes("long")) throw new PromptTooLongError("input 0 has 9 tokens");
    return { vectors: inputs.map(() => Float32Array.of(0, Math.log(3))), tokens: 1 };
  };
  const classifier = await fake({ embed, text: { ...text, task: "classification" } }).load();
  expect(classifier.task).toBe("classification");
  const [classes] = await classifier.classify(["a"]);
  expect(classes!.map(({ label }) => label)).toEqual(["yes", "no"]);
  expect(classes![0]!.score).toBeCloseTo(0.75);
  await expect(classifier.embed(["a"])).rejects.toThrow('The model "m" does classification, and no embedding.');
  const several = await fake({ embed, text: { ...text, task: "classification", isMultiLabel: true } }).load();
  expect((await several.classify(["a"]))[0]!.map(({ score }) => score)).toEqual([expect.closeTo(0.75), 0.5]);
  const embedder = await fake({ embed, text: { ...text, task: "embedding" } }).load();
  expect(await embedder.embed(["a", [1]])).toHaveLength(2);
  await expect(embedder.embed(["long"])).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  await expect((await fake().load()).embed(["a"])).rejects.toThrow("takes tensors, not texts");
});
