/** Emits `y = x W^T` for a checkpoint's matrix in one of the forms that a provider runs well. Knows forms and nodes, no architecture. */
import { blockOffsets, blockQuants, blockScales, blockShape, isBlockFormat } from "../gguf/blocks.ts";
import { forEachStretch } from "../gguf/dequantise.ts";
import type { TensorFormat } from "../gguf/format.ts";
import type { GraphBuilder, Recipe } from "./graph.ts";
import type { Matrix } from "./matrix.ts";
import { BLOCK, bytesOf, corrections, offsetInt8, packNibbles, roundInto, transposeInto } from "./pack.ts";

/** What a matrix is stored as in the graph. `int4` is for the formats of four bits only, and exact; `int8` rounds all but Q8_0, I8_0 and Q5_0. */
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
      from(rows * columns * 4, (bytes) => transposed(format, bytes, rows, columns)),
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
    if (isExactInt8(format)) {
      const quants = from(rows * columns, (bytes) => offsetInt8(blockQuants(format, bytes)));
      return nBits(
        8,
        quants,
        from(rows * blocks * 4, (bytes) => bytesOf(blockScales(format, bytes))),
        y,
      );
    }
    const round = (bytes: Uint8Array): { readonly quants: Uint8Array; readonly scales: Float32Array } => {
      const quants = new Uint8Array(rows * columns);
      const scales = new Float32Array(rows * blocks);
      forEachStretch(format, bytes, columns, (values, row) => roundInto(quants, scales, row * columns, values));
      return { quants, scales };
    };
    // The scales are wanted right behind the quants, as a rule: they needn't be found twice.
    let found: Float32Array | undefined;
    const quants = from(rows * columns, (bytes) => {
      const made = round(bytes);
      found = made.scales;
      return made.quants;
    });
    const scales = from(rows * blocks * 4, (bytes) => {
      const made = found ?? round(bytes).scales;
      found = undefined;
      return bytesOf(made);
    });
    return nBits(8, quants, scales, y);
  }

  if (!hasFourBits(format)) throw new Error(`the form int4 needs tensors of four bits, not ${format}`);
  const quants = from((rows * columns) / 2, (bytes) => packNibbles(blockQuants(format, bytes)));
  const scales = from(rows * blocks * 4, (bytes) => bytesOf(blockScales(format, bytes)));
  if (!blockShape(format).hasOffsets) return nBits(4, quants, scales, y);

  nBits(4, quants, scales, `${y}.scaled`);
  const correction = graph.weight(
    `${name}.corrections`,
    "float32",
    [blocks, rows],
    from(rows * blocks * 4, (bytes) => corrections(blockOffsets(format, bytes), rows)),
  );
  graph.node("MatMul", [blockSums(graph, x, blocks), correction], [`${y}.correction`]);
  graph.node("Add", [`${y}.scaled`, `${y}.correction`], [y]);
}

/** Formats that `int4` keeps as they are. */
export function hasFourBits(format: TensorFormat): format is "Q4_0" | "Q4_1" | "Q4_K" {
  return format === "Q4_0" || format === "Q4_1" || format === "Q4_K";
}

/** Formats that `int8` keeps as they are: a scale for each block and nothing else. */
export function isExactInt8(format: TensorFormat): format is "Q4_0" | "Q5_0" | "Q8_0" | "I8_0" {
  if (!isBlockFormat(format)) return false;
  const { shared, hasOffsets } = blockShape(format);
  return shared === BLOCK && !hasOffsets;
}

function transposed(format: TensorFormat, bytes: Uint8Array, rows: number, columns: number): Uint8Array {
  const out = new Float32Array(rows * columns);
  forEachStretch(format, bytes, columns, (values, firstRow) => transposeInto(out, values, { firstRow, rows, columns }));
  return bytesOf(out);
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
