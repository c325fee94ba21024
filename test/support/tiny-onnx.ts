/** Small ONNX files: what an exporter would have written. */
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { streamWeights } from "../../engine/prepare.ts";
import { emitEncoder } from "../../engine/onnx/encoder.ts";
import { GraphBuilder } from "../../engine/onnx/graph.ts";
import { openEncoderRepository } from "../../engine/safetensors/encoder.ts";
import { makeTinyEncoder } from "./tiny-encoder.ts";
import { filesOf } from "./tiny-repository.ts";

/** y = x · [[1, 2], [3, 4], [5, 6]] + 1, and the rows' sums. */
export function affineGraph(): Uint8Array {
  const graph = new GraphBuilder();
  graph.input("x", "float32", ["batch", 3]);
  const weight = graph.constant("weight", "float32", [3, 2], Float32Array.of(1, 2, 3, 4, 5, 6));
  const one = graph.constant("one", "float32", [1], Float32Array.of(1));
  const last = graph.constant("last", "int64", [1], BigInt64Array.of(1n));
  graph.node("MatMul", ["x", weight], ["product"]);
  graph.node("Add", ["product", one], ["y"]);
  graph.node("ReduceSum", ["y", last], ["sum"], { keepdims: 0 });
  graph.output("y", "float32", ["batch", 2]);
  graph.output("sum", "float32", ["batch"]);
  return graph.finish().graph;
}

/** The determinant of twice a matrix, squared: WebGPU has no kernel for the middle of it. */
export function determinantGraph(): Uint8Array {
  const graph = new GraphBuilder();
  graph.input("x", "float32", ["batch", 2, 2]);
  graph.node("Add", ["x", "x"], ["twice"]);
  graph.node("Det", ["twice"], ["determinant"]);
  graph.node("Mul", ["determinant", "determinant"], ["y"]);
  graph.output("y", "float32", ["batch"]);
  return graph.finish().graph;
}

/** Files of a repository in the layout of onnx-community: the tiny encoder, with its weights beside the graph. */
export async function onnxEncoder(): Promise<Map<string, Uint8Array>> {
  const { contents } = makeTinyEncoder();
  const { checkpoint, source } = await openEncoderRepository(filesOf(contents));
  const { graph, layout } = emitEncoder(checkpoint, { target: "f32" });
  const weights = new Uint8Array(layout.byteLength);
  await streamWeights(layout, source, (offset, bytes) => weights.set(bytes, offset));
  const files = new Map(contents);
  files.delete("model.safetensors");
  files.delete("modules.json");
  return files.set("onnx/model.onnx", graph).set("onnx/weights.bin", weights);
}

/**
 * The same for a classifier: each "river" is a vote for WET, each "stone" one for DRY. Its inputs and the dtype of its mask are those of
 * exporters.
 */
export function onnxClassifier(): Map<string, Uint8Array> {
  const { contents } = makeTinyEncoder();
  const graph = new GraphBuilder();
  graph.input("input_ids", "int64", ["batch_size", "sequence_length"]);
  graph.input("attention_mask", "int64", ["batch_size", "sequence_length"]);
  const votes = new Float32Array(16 * 2);
  // Padding would vote, were it not for the mask.
  votes[0] = 9;
  votes[5 * 2 + 1] = 1;
  votes[7 * 2] = 1;
  const table = graph.constant("votes", "float32", [16, 2], votes);
  const axes = (name: string, axis: number): string =>
    graph.constant(name, "int64", [1], BigInt64Array.of(BigInt(axis)));
  graph.node("Gather", [table, "input_ids"], ["cast"]);
  graph.node("Cast", ["attention_mask"], ["mask"], { to: 1 });
  graph.node("Unsqueeze", ["mask", axes("last", 2)], ["mask.column"]);
  graph.node("Mul", ["cast", "mask.column"], ["counted"]);
  graph.node("ReduceSum", ["counted", axes("sequence", 1)], ["logits"], { keepdims: 0 });
  graph.output("logits", "float32", ["batch_size", 2]);
  const config = {
    architectures: ["BertForSequenceClassification"],
    vocab_size: 16,
    id2label: { "0": "DRY", "1": "WET" },
  };
  return new Map([
    ["config.json", new Uint8Array(Buffer.from(JSON.stringify(config)))],
    ["tokenizer.json", contents.get("tokenizer.json")!],
    ["tokenizer_config.json", new Uint8Array(Buffer.from('{"model_max_length":24,"tokenizer_class":"BertTokenizer"}'))],
    ["onnx/model.onnx", graph.finish().graph],
  ]);
}

/** Writes a repository's files; resolves with the folder. */
export async function writeRepository(folder: string, files: ReadonlyMap<string, Uint8Array>): Promise<string> {
  for (const [name, bytes] of files) {
    await mkdir(dirname(join(folder, name)), { recursive: true });
    await writeFile(join(folder, name), bytes);
  }
  return folder;
}
