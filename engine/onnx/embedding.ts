/** Emits the lookup of token embeddings. Knows no architecture. */
import { dequantise } from "../gguf/dequantise.ts";
import type { GraphBuilder } from "./graph.ts";
import type { Matrix } from "./matrix.ts";
import { DATA_TYPE } from "./messages.ts";
import { BLOCK, blockScales, bytesOf, int8Values } from "./pack.ts";
import type { Dialect } from "./target.ts";

/** Emits `table[ids]` and returns its name: f32 `[batch, sequence, columns]`. Exact in both forms. */
export function emitEmbedding(
  graph: GraphBuilder,
  { rows, columns, format, tensors }: Matrix,
  ids: string,
  dialect: Dialect,
): string {
  if (format !== "Q8_0" || !dialect.gathersInt8) {
    const table = graph.weight("embedding", "float32", [rows, columns], {
      inputs: tensors,
      byteLength: rows * columns * 4,
      make: ([bytes]) => bytesOf(dequantise(format, bytes!)),
    });
    graph.node("Gather", [table, ids], ["embedded"]);
    return "embedded";
  }
  const blocks = columns / BLOCK;
  const values = graph.weight("embedding.values", "int8", [rows, blocks, BLOCK], {
    inputs: tensors,
    byteLength: rows * columns,
    make: ([bytes]) => int8Values(bytes!),
  });
  const scales = graph.weight("embedding.scales", "float32", [rows, blocks, 1], {
    inputs: tensors,
    byteLength: rows * blocks * 4,
    make: ([bytes]) => blockScales("Q8_0", bytes!),
  });
  graph.node("Gather", [values, ids], ["embedding.row"]);
  graph.node("Cast", ["embedding.row"], ["embedding.float"], { to: DATA_TYPE.float32 });
  graph.node("Gather", [scales, ids], ["embedding.scale"]);
  graph.node("Mul", ["embedding.float", "embedding.scale"], ["embedding.blocks"]);
  const shape = graph.constant("shape.embedding", "int64", [3], BigInt64Array.of(0n, 0n, BigInt(columns)));
  graph.node("Reshape", ["embedding.blocks", shape], ["embedded"]);
  return "embedded";
}
