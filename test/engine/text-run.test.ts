import { expect, test } from "vitest";
import { type GraphFacts, textTaskOf } from "../../engine/graph-model.ts";
import type { Tensors, ValueFacts } from "../../engine/tensor.ts";
import { textRun } from "../../engine/text-run.ts";

const value = (name: string, type: ValueFacts["type"], shape: ValueFacts["shape"]): ValueFacts => ({
  name,
  type,
  shape,
});
const ids = value("input_ids", "int64", ["batch", "sequence"]);
const hidden = value("last_hidden_state", "float32", ["batch", "sequence", 2]);
const BATCH = { rows: 2, sequence: 3, ids: Int32Array.of(1, 2, 3, 4, 0, 0), mask: Float32Array.of(1, 1, 1, 1, 0, 0) };
const MEAN = { pooling: "mean", normalises: false } as const;

/** A run that gives these numbers for an output, and keeps what it was fed. */
function giving(name: string, dims: readonly number[], ...values: number[]) {
  const fed: Tensors[] = [];
  const run = async (feeds: Tensors): Promise<Tensors> => {
    fed.push(feeds);
    return { [name]: { type: "float32", dims, data: Float32Array.from(values) } };
  };
  return { fed, run };
}
const TOKENS = [1, 0, 2, 0, 3, 3, 5, 6, 70, 70, 80, 80];

test("each input is fed in the type that it declares", async () => {
  const inputs = [
    ids,
    value("attention_mask", "float32", ["batch", "sequence"]),
    value("token_type_ids", "int32", ["batch", "sequence"]),
    value("position_ids", "int64", [1, "sequence"]),
  ];
  const { fed, run } = giving("last_hidden_state", [2, 3, 2], ...TOKENS);
  await textRun({ inputs, outputs: [hidden] }, MEAN, run)(BATCH);
  await textRun(
    { inputs: [ids, value("position_ids", "int64", ["batch", "sequence"])], outputs: [hidden] },
    MEAN,
    run,
  )(BATCH);
  expect(fed).toEqual([
    {
      input_ids: { type: "int64", dims: [2, 3], data: BigInt64Array.of(1n, 2n, 3n, 4n, 0n, 0n) },
      attention_mask: { type: "float32", dims: [2, 3], data: BATCH.mask },
      token_type_ids: { type: "int32", dims: [2, 3], data: new Int32Array(6) },
      position_ids: { type: "int64", dims: [1, 3], data: BigInt64Array.of(0n, 1n, 2n) },
    },
    {
      input_ids: expect.anything(),
      position_ids: { type: "int64", dims: [2, 3], data: BigInt64Array.of(0n, 1n, 2n, 0n, 1n, 2n) },
    },
  ]);
});

test("tokens' vectors become one: their mean without padding, or the first; of length 1 where that is wanted", async () => {
  const graph: GraphFacts = { inputs: [ids], outputs: [hidden] };
  const { run } = giving("last_hidden_state", [2, 3, 2], ...TOKENS);
  expect([...(await textRun(graph, MEAN, run)(BATCH))]).toEqual([2, 1, 5, 6]);
  expect([...(await textRun(graph, { ...MEAN, pooling: "cls" }, run)(BATCH))]).toEqual([1, 0, 5, 6]);
  const unit = await textRun(graph, { pooling: "cls", normalises: true }, run)(BATCH);
  expect([...unit]).toEqual([1, 0, expect.closeTo(5 / Math.hypot(5, 6)), expect.closeTo(6 / Math.hypot(5, 6))]);
});

test("vectors of whole texts come before those of tokens; classes are left as they are", async () => {
  const whole = value("sentence_embedding", "float32", ["batch", 2]);
  const graph: GraphFacts = { inputs: [ids], outputs: [hidden, whole] };
  const { run } = giving("sentence_embedding", [2, 2], 3, 4, 0, 0);
  expect([...(await textRun(graph, { ...MEAN, normalises: true }, run)(BATCH))]).toEqual([
    expect.closeTo(0.6),
    expect.closeTo(0.8),
    0,
    0,
  ]);
  const classes: GraphFacts = { inputs: [ids], outputs: [value("logits", "float32", ["batch", 2])] };
  const logits = giving("logits", [2, 2], 3, 4, 5, 6).run;
  expect([...(await textRun(classes, { ...MEAN, normalises: true }, logits)(BATCH))]).toEqual([3, 4, 5, 6]);
  const short = giving("logits", [1, 2], 3, 4).run;
  await expect(textRun(classes, MEAN, short)(BATCH)).rejects.toThrow("1 rows for 2 texts");
});

test("a task has only what takes texts and gives something known", () => {
  const logits = value("logits", "float32", ["batch", 2]);
  expect(textTaskOf({ inputs: [ids], outputs: [logits] })).toBe("classification");
  expect(
    textTaskOf({ inputs: [ids], outputs: [value("logits", "float32", ["batch", "sequence", 9])] }),
  ).toBeUndefined();
  expect(textTaskOf({ inputs: [ids], outputs: [hidden] })).toBe("embedding");
  expect(textTaskOf({ inputs: [ids, value("pixel_values", "float32", undefined)], outputs: [hidden] })).toBeUndefined();
  expect(textTaskOf({ inputs: [value("attention_mask", "int64", undefined)], outputs: [hidden] })).toBeUndefined();
  expect(textTaskOf({ inputs: [ids], outputs: [value("scores", "float32", ["batch"])] })).toBeUndefined();
});
