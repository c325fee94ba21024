/** Emits the lookup of token embeddings. Knows no architecture. */
import { blockOffsets, blockQuants, blockScales, blockShape, isBlockFormat } from "../gguf/blocks.ts";
import { dequantise } from "../gguf/dequantise.ts";
import type { GraphBuilder, Recipe } from "./graph.ts";
import type { Matrix } from "./matrix.ts";
import { DATA_TYPE } from "./messages.ts";
import { bytesOf } from "./pack.ts";
import type { Dialect } from "./target.ts";

/** Emits `table[ids]` and returns its name: f32 `[batch, sequence, columns]`. Exact in all forms. */
export function emitEmbedding(
  graph: GraphBuilder,
  { rows, columns, format, tensors }: Matrix,
  ids: string,
  dialect: Dialect,
): string {
  const table = (
    name: string,
    type: "float32" | "float16" | "bfloat16" | "int8",
    shape: number[],
    elementBytes: number,
    make: (bytes: Uint8Array) => Uint8Array,
  ): string => {
    const byteLength = shape.reduce((product, size) => product * size, elementBytes);
    const recipe: Recipe = { inputs: tensors, byteLength, make: ([bytes]) => make(bytes!) };
    return graph.weight(name, type, shape, recipe);
  };
  /** Looks the ids up in a table that is smaller than f32, and makes f32 of what was found. */
  const narrow = (name: string, source: string): string => {
    graph.node("Gather", [source, ids], [`${name}.row`]);
    graph.node("Cast", [`${name}.row`], [name], { to: DATA_TYPE.float32 });
    return name;
  };

  if (dialect.gathersNarrow && (format === "F16" || format === "BF16")) {
    return narrow(
      "embedded",
      table("embedding", format === "F16" ? "float16" : "bfloat16", [rows, columns], 2, (bytes) => bytes),
    );
  }
  if (!dialect.gathersNarrow || !isBlockFormat(format)) {
    const source = table("embedding", "float32", [rows, columns], 4, (bytes) => bytesOf(dequantise(format, bytes)));
    graph.node("Gather", [source, ids], ["embedded"]);
    return "embedded";
  }
  const { shared, hasOffsets } = blockShape(format);
  const blocks = columns / shared;
  const quants = table("embedding.quants", "int8", [rows, blocks, shared], 1, (bytes) =>
    bytesOf(blockQuants(format, bytes)),
  );
  const scales = table("embedding.scales", "float32", [rows, blocks, 1], 4, (bytes) =>
    bytesOf(blockScales(format, bytes)),
  );
  let value = "embedding.blocks";
  graph.node("Gather", [scales, ids], ["embedding.scale"]);
  graph.node("Mul", [narrow("embedding.float", quants), "embedding.scale"], [value]);
  if (hasOffsets) {
    const offsets = table("embedding.offsets", "float32", [rows, blocks, 1], 4, (bytes) =>
      bytesOf(blockOffsets(format, bytes)),
    );
    graph.node("Gather", [offsets, ids], ["embedding.offset"]);
    graph.node("Add", [value, "embedding.offset"], ["embedding.sums"]);
    value = "embedding.sums";
  }
  const shape = graph.constant("shape.embedding", "int64", [3], BigInt64Array.of(0n, 0n, BigInt(columns)));
  graph.node("Reshape", [value, shape], ["embedded"]);
  return "embedded";
}
