/**
 * Rows of token ids through a graph with the inputs that exporters of encoders give it, to one row of numbers for each. Pure but for the
 * session it is given.
 */
import type { EncoderBatch, EncoderRun } from "./embedder.ts";
import {
  embeddingOutput,
  type GraphFacts,
  LOGITS,
  type TextInput,
  type TextSettings,
  textTaskOf,
} from "./graph-model.ts";
import type { TensorValue, Tensors, ValueFacts } from "./tensor.ts";

/** Of a graph that has a task: `textTaskOf` says so. */
export function textRun(
  { inputs, outputs }: GraphFacts,
  settings: Pick<TextSettings, "pooling" | "normalises">,
  run: (feeds: Tensors) => Promise<Tensors>,
): EncoderRun {
  const task = textTaskOf({ inputs, outputs });
  const output = task === "classification" ? LOGITS : embeddingOutput(outputs)!.name;
  const feeders = inputs.map((input) => [input.name, feeder(input)] as const);
  return async (batch) => {
    const feeds = Object.fromEntries(feeders.map(([name, feed]) => [name, feed(batch)]));
    const given = (await run(feeds))[output];
    if (!(given?.data instanceof Float32Array)) throw new Error(`the graph gave no numbers as ${output}`);
    const { dims, data } = given;
    if (dims[0] !== batch.rows) throw new Error(`the graph gave ${dims[0]} rows for ${batch.rows} texts`);
    if (dims.length === 2) return task === "embedding" && settings.normalises ? normalised(data, dims[1]!) : data;
    const pooled = pool(data, batch, dims[2]!, settings.pooling);
    return settings.normalises ? normalised(pooled, dims[2]!) : pooled;
  };
}

function feeder({ name, type, shape }: ValueFacts): (batch: EncoderBatch) => TensorValue {
  const values: Record<TextInput, (batch: EncoderBatch) => ArrayLike<number>> = {
    input_ids: ({ ids }) => ids,
    attention_mask: ({ mask }) => mask,
    // One text at a time: all of its tokens are of the first kind.
    token_type_ids: ({ ids }) => new Int32Array(ids.length),
    position_ids: ({ rows, sequence }) =>
      Int32Array.from({ length: (shape?.[0] === 1 ? 1 : rows) * sequence }, (_, i) => i % sequence),
  };
  return (batch) => {
    const made = values[name as TextInput](batch);
    const dims = [made.length / batch.sequence, batch.sequence];
    if (type === "int64") return { type, dims, data: BigInt64Array.from(made as number[], BigInt) };
    if (type === "int32") return { type, dims, data: Int32Array.from(made) };
    return { type: "float32", dims, data: Float32Array.from(made) };
  };
}

/** One vector of each row: the mean of its tokens, or the first one. */
function pool(
  hidden: Float32Array,
  { rows, sequence, mask }: EncoderBatch,
  width: number,
  pooling: TextSettings["pooling"],
): Float32Array {
  const pooled = new Float32Array(rows * width);
  for (let row = 0; row < rows; row++) {
    const out = pooled.subarray(row * width, (row + 1) * width);
    const lengths = pooling === "cls" ? [1] : mask.subarray(row * sequence, (row + 1) * sequence);
    let count = 0;
    lengths.forEach((weight, at) => {
      count += weight;
      const token = (row * sequence + at) * width;
      if (weight !== 0) for (let i = 0; i < width; i++) out[i]! += hidden[token + i]!;
    });
    for (let i = 0; i < width; i++) out[i]! /= Math.max(count, 1);
  }
  return pooled;
}

/** Each row divided by its length. */
function normalised(rows: Float32Array, width: number): Float32Array {
  const result = rows.slice();
  for (let at = 0; at < result.length; at += width) {
    const row = result.subarray(at, at + width);
    const length = Math.sqrt(row.reduce((sum, value) => sum + value * value, 0));
    if (length > 0) row.forEach((value, i) => (row[i] = value / length));
  }
  return result;
}
