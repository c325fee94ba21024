import { expect, test } from "vitest";
import type { TensorValue, ValueFacts } from "../../../engine/index.ts";
import { checkFeeds, tensor } from "../../../llm/onnx/feeds.ts";
import { feedsOf, jsonOf } from "../../../llm/onnx/json-tensors.ts";
import { apart, grouped, hasBatchAxis, joined } from "../../../llm/onnx/rows.ts";

const INPUTS: readonly ValueFacts[] = [
  { name: "x", type: "float32", shape: ["batch", 3] },
  { name: "ids", type: "int64", shape: ["batch", "?"] },
  { name: "any", type: "string", shape: undefined },
];
const good = {
  x: tensor("float32", [1, 2, 3, 4, 5, 6], [2, 3]),
  ids: tensor("int64", [1, 2n], [2, 1]),
  any: tensor("string", ["a"]),
};

test("feeds that the graph can take pass; each mistake names the input and what is expected", () => {
  expect(() => checkFeeds(good, INPUTS)).not.toThrow();
  const { x, ids } = good;
  const mistakes: [Record<string, TensorValue>, string][] = [
    [
      { ...good, y: x },
      'There is no input "y"; the inputs are x: float32[batch, 3], ids: int64[batch, ?], any: string',
    ],
    [{ x, ids }, "The input any: string is missing"],
    [{ ...good, x: ids }, "x is int64, expected x: float32[batch, 3]"],
    [{ ...good, x: tensor("float32", [1, 2], [2, 1]) }, "x has the shape [2, 1], expected x: float32[batch, 3]"],
    [{ ...good, x: tensor("float32", [1, 2, 3]) }, "x has the shape [3], expected"],
    [{ ...good, ids: tensor("int64", [1], [1, 1]) }, 'ids has the shape [1, 1], so "batch" is 1; in x it is 2'],
    [{ ...good, x: { ...x, dims: [3, 3] } }, "x has 6 values; its shape [3, 3] has 9"],
    [{ ...good, x: { ...x, dims: [-2, -3] } }, "x has the shape [-2, -3]"],
    [
      { ...good, x: { ...x, data: Int32Array.of(1, 2, 3, 4, 5, 6) } },
      "x is float32, but its values are in a Int32Array",
    ],
  ];
  for (const [feeds, words] of mistakes) expect(() => checkFeeds(feeds, INPUTS)).toThrow(words);
});

test("tensors are made of what fits into them, and of nothing else", () => {
  expect(tensor("int8", [1, -2])).toEqual({ type: "int8", dims: [2], data: Int8Array.of(1, -2) });
  expect(tensor("bool", [true, false])).toEqual({ type: "bool", dims: [2], data: Uint8Array.of(1, 0) });
  expect(tensor("float16", [0.5]).data).toEqual(Float16Array.of(0.5));
  const data = Float32Array.of(1);
  expect(tensor("float32", data).data).toBe(data);
  expect(() => tensor("int8", [200])).toThrow("200 doesn't fit into int8");
  expect(() => tensor("int32", [1.5])).toThrow("1.5 doesn't fit into int32");
  expect(() => tensor("int64", [1.5])).toThrow("1.5 is not a whole number");
  expect(() => tensor("float32", ["1"])).toThrow("1 is not a number");
  expect(() => tensor("string", [1])).toThrow("list of strings");
  expect(() => tensor("float32", [1, 2], [3])).toThrow("2 values; its shape [3] has 3");
});

test("JSON's nested lists and tensors are the same", () => {
  const json = { x: [[1, 2, 3], [4, 5, 6]], ids: [[1], [2]], any: ["a"] }; // prettier-ignore
  expect(feedsOf(json, INPUTS)).toEqual(good);
  expect(jsonOf(good)).toEqual(json);
  expect(feedsOf({ any: "a" }, INPUTS)["any"]!.dims).toEqual([]);
  expect(feedsOf({ x: [] }, INPUTS)["x"]!.dims).toEqual([0]);
  expect(
    jsonOf({
      a: tensor("float32", [NaN, Infinity, 1]),
      b: tensor("int64", [2n ** 60n, 5n]),
      c: { type: "bool", dims: [], data: Uint8Array.of(1) },
    }),
  ).toEqual({ a: ["NaN", "Infinity", 1], b: ["1152921504606846976", 5], c: true });
  for (const [x, words] of [
    [[[1, 2], [3]], "x holds lists of unequal length"],
    [[1, [2]], "x holds lists of unequal depth"],
    [[[1, 2], 3], "x holds lists of unequal length"],
    [[null], "x holds null"],
    [[["a"]], "a is not a number"],
  ] as const)
    expect(() => feedsOf({ x }, INPUTS)).toThrow(words);
  expect(() => feedsOf({ z: [1] }, INPUTS)).toThrow('There is no input "z" that can be fed');
  let deep: unknown = 1;
  for (let i = 0; i < 10_000; i++) deep = [deep];
  expect(() => feedsOf({ x: deep }, INPUTS)).toThrow("more than 32 dimensions");
});

test("only a first size that everything shares by name is a batch axis", () => {
  const facts = (input: readonly (string | number)[] | undefined, output: readonly (string | number)[]) => ({
    inputs: [{ name: "x", type: "float32" as const, shape: input }],
    outputs: [{ name: "y", type: "float32" as const, shape: output }],
  });
  expect(hasBatchAxis(facts(["batch", 3], ["batch"]))).toBe(true);
  expect(hasBatchAxis(facts(["batch", 3], ["other"]))).toBe(false);
  expect(hasBatchAxis(facts([1, 3], [1]))).toBe(false);
  expect(hasBatchAxis(facts(["?", 3], ["?"]))).toBe(false);
  expect(hasBatchAxis(facts(undefined, ["batch"]))).toBe(false);
  expect(hasBatchAxis({ inputs: [], outputs: facts([1], ["batch"]).outputs })).toBe(false);
});

test("calls of like rows are joined up to the bound, and taken apart again", () => {
  const call = (rows: number, width: number, first: number) => ({
    feeds: {
      x: tensor(
        "float32",
        Array.from({ length: rows * width }, (_, i) => first + i),
        [rows, width],
      ),
    },
  });
  const calls = [call(1, 2, 10), call(2, 3, 20), call(2, 2, 30), call(3, 2, 40), call(9, 2, 50)];
  const groups = grouped(calls, 5);
  expect(groups.map((group) => group.map((one) => calls.indexOf(one)))).toEqual([[0, 2], [1], [3], [4]]);
  const feeds = groups[0]!.map((one) => one.feeds);
  expect(joined(feeds)).toEqual({ x: tensor("float32", [10, 11, 30, 31, 32, 33], [3, 2]) });
  const outputs = { y: tensor("int64", [1, 2, 3]), s: tensor("string", ["a", "b", "c"]) };
  expect(apart(outputs, [1, 2])).toEqual([
    { y: tensor("int64", [1]), s: tensor("string", ["a"]) },
    { y: tensor("int64", [2, 3]), s: tensor("string", ["b", "c"]) },
  ]);
  expect(() => apart({ y: tensor("int64", [1]) }, [1, 2])).toThrow("set maxBatch to 1");
});
