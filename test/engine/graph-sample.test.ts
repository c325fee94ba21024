import { expect, test } from "vitest";
import type { PreparedGraph } from "../../engine/graph-model.ts";
import { assertAgree, type GraphRun, samplesOf } from "../../engine/graph-sample.ts";
import type { Tensors } from "../../engine/tensor.ts";

const graph = {
  inputs: [
    { name: "x", type: "float32", shape: ["n"] },
    { name: "ids", type: "int64", shape: ["n"] },
  ],
  outputs: [
    { name: "y", type: "float32", shape: ["n"] },
    { name: "best", type: "int64", shape: [1] },
  ],
  text: undefined,
} as unknown as PreparedGraph;

const answering =
  (values: readonly number[], best = 0n, asked: Tensors[] = []): GraphRun =>
  async (feeds) => {
    asked.push(feeds);
    return {
      y: { type: "float32", dims: [values.length], data: Float32Array.from(values) },
      best: { type: "int64", dims: [1], data: BigInt64Array.of(best) },
    };
  };

test("numbers as if by chance, the same each time, and zeros where they may be places in a table", async () => {
  const [sample, ...others] = samplesOf(graph, [{ x: [100], ids: [100] }]);
  expect(others).toEqual([]);
  const asked: Tensors[] = [];
  await sample!(answering([1], 0n, asked));
  await sample!(answering([1], 0n, asked));
  expect(asked[0]).toEqual(asked[1]);
  const { x, ids } = asked[0]!;
  expect(new Set(x!.data as Float32Array).size).toBeGreaterThan(90);
  expect(Math.max(...(x!.data as Float32Array).map(Math.abs))).toBeLessThanOrEqual(1);
  expect(ids!.data).toEqual(new BigInt64Array(100));
});

test("a tensor that is given is taken as it is", async () => {
  const ids = { type: "int64", dims: [1], data: BigInt64Array.of(7n) } as const;
  const asked: Tensors[] = [];
  await samplesOf(graph, [{ x: [1], ids }])[0]!(answering([1], 0n, asked));
  expect(asked[0]!["ids"]).toBe(ids);
});

test("runs agree where real numbers do, to what small types can tell", async () => {
  const [sample] = samplesOf(graph, [{ x: [3], ids: [3] }]);
  const agree = (actual: readonly number[], expected: readonly number[]): Promise<void> =>
    assertAgree(sample!, answering(actual, 1n), answering(expected, 2n));
  await agree([1, 100, NaN], [1.5, 99, NaN]);
  await agree([0, Infinity, 0], [0, Infinity, 0]);
  await expect(agree([1, 90, 0], [1, 100, 0])).rejects.toThrow("y is off by 10 of 1.0e+2");
  await expect(agree([0, 0, NaN], [1, 0, 0])).rejects.toThrow("off by Infinity");
  await expect(agree([0, 0, 0], [0, 0, -Infinity])).rejects.toThrow("off by Infinity");
  await expect(agree([1, 2], [1, 2, 3])).rejects.toThrow("y has 2 numbers instead of 3");
});
