/** Emits `y = x W^T` for a checkpoint's matrix in one of the forms that a provider runs well. Knows forms and nodes, no architecture. */
import { dequantise } from "../gguf/dequantise.ts";
import type { GraphBuilder, Recipe } from "./graph.ts";
import type { Matrix } from "./matrix.ts";
import {
  BLOCK,
  blockCorrections,
  blockScales,
  bytesOf,
  int8Values,
  offsetInt8,
  packNibbles,
  roundedQuants,
  roundedScales,
  transpose,
} from "./pack.ts";

/** What a matrix is stored as in the graph. `int4` is for Q4_0 and Q4_1 only, and exact; `int8` rounds all formats but Q8_0. */
export type LinearForm = "f32" | "int4" | "int8";

/** Emits the multiplication; `name` names its weights, `accuracyLevel` is MatMulNBits' (4: int8 activations; 0: f32). */
export function emitLinear(
  graph: GraphBuilder,
  {
    name,
    x,
    y,
    matrix,
    form,
    accuracyLevel,
  }: {
    readonly name: string;
    readonly x: string;
    readonly y: string;
    readonly matrix: Matrix;
    readonly form: LinearForm;
    readonly accuracyLevel: number;
  },
): void {
  const { rows, columns, format } = matrix;
  const blocks = columns / BLOCK;
  const from = (byteLength: number, make: (rowBytes: Uint8Array) => Uint8Array): Recipe => ({
    inputs: matrix.tensors,
    byteLength,
    make: (inputs) => make(matrix.assemble(inputs)),
  });

  if (form === "f32") {
    const weights = graph.weight(
      name,
      "float32",
      [columns, rows],
      from(rows * columns * 4, (bytes) => transpose(dequantise(format, bytes), rows, columns)),
    );
    return graph.node("MatMul", [x, weights], [y]);
  }

  const nBits = (bits: number, quants: Recipe, scales: Recipe, output: string): void =>
    graph.contrib(
      "MatMulNBits",
      [
        x,
        graph.weight(`${name}.quants`, "uint8", [rows, blocks, (BLOCK * bits) / 8], quants),
        graph.weight(`${name}.scales`, "float32", [rows, blocks], scales),
      ],
      [output],
      { K: columns, N: rows, bits, block_size: BLOCK, accuracy_level: accuracyLevel },
    );

  if (form === "int8") {
    const exact = format === "Q8_0";
    const quants = from(rows * columns, (bytes) =>
      exact ? offsetInt8(int8Values(bytes)) : roundedQuants(dequantise(format, bytes)),
    );
    const scales = from(rows * blocks * 4, (bytes) =>
      exact ? blockScales(format, bytes) : bytesOf(roundedScales(dequantise(format, bytes))),
    );
    return nBits(8, quants, scales, y);
  }

  if (format !== "Q4_0" && format !== "Q4_1")
    throw new Error(`the form int4 needs Q4_0 or Q4_1 tensors, not ${format}`);
  const quants = from((rows * columns) / 2, (bytes) => packNibbles(format, bytes));
  const scales = from(rows * blocks * 4, (bytes) => blockScales(format, bytes));
  if (format === "Q4_0") return nBits(4, quants, scales, y);

  nBits(4, quants, scales, `${y}.scaled`);
  const corrections = graph.weight(
    `${name}.corrections`,
    "float32",
    [blocks, rows],
    from(rows * blocks * 4, (bytes) => blockCorrections(bytes, rows)),
  );
  graph.node("MatMul", [blockSums(graph, x, blocks), corrections], [`${y}.correction`]);
  graph.node("Add", [`${y}.scaled`, `${y}.correction`], [y]);
}

/** Sums of `x` over each block, computed once for all multiplications of `x`. */
function blockSums(graph: GraphBuilder, x: string, blocks: number): string {
  const shape = graph.constant(
    `shape.blocks.${blocks}`,
    "int64",
    [4],
    BigInt64Array.of(0n, 0n, BigInt(blocks), BigInt(BLOCK)),
  );
  const last = graph.constant("axis.last", "int64", [1], BigInt64Array.of(-1n));
  return graph.once(`${x}.sums`, (sums) => {
    graph.node("Reshape", [x, shape], [`${x}.blocks`]);
    graph.node("ReduceSum", [`${x}.blocks`, last], [sums], { keepdims: 0 });
  });
}
