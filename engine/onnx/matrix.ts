/**
 * A weight matrix `[rows, columns]` as stored in a checkpoint: one tensor, or several on top of each other. Knows how checkpoints order
 * the rows of queries and keys; nothing of graphs.
 */
import { byteLengthOf, type TensorFormat } from "../gguf/format.ts";
import { CheckpointError } from "../gguf/error.ts";
import type { CheckpointTensor } from "../checkpoint.ts";
import { concat } from "./protobuf.ts";

export interface Matrix {
  readonly rows: number;
  readonly columns: number;
  readonly format: TensorFormat;
  readonly tensors: readonly CheckpointTensor[];
  /** All rows' bytes in the graph's order, from the tensors' bytes. */
  readonly assemble: (inputs: readonly Uint8Array[]) => Uint8Array;
}

/** The matrix of one tensor; throws CheckpointError when its shape isn't `[rows, columns]`. */
export function matrixOf(tensor: CheckpointTensor, rows: number, columns: number): Matrix {
  if (tensor.shape.length !== 2 || tensor.shape[0] !== rows || tensor.shape[1] !== columns) {
    throw new CheckpointError(
      `tensor ${JSON.stringify(tensor.name)} has the shape [${tensor.shape.join(", ")}], but the metadata asks for [${rows}, ${columns}]`,
    );
  }
  return { rows, columns, format: tensor.format, tensors: [tensor], assemble: ([bytes]) => bytes! };
}

/**
 * Which row of a head in the checkpoint is each of its rows in the graph, whose attention turns row i with row i + headDim / 2. In a
 * checkpoint a pair lies side by side (llama.cpp's converter: `reshape(heads, 2, dim/2).swapaxes(1, 2)`), or half of the turning rows apart;
 * those that don't turn come behind them. Queries and keys in the same order have the same products. Undefined: as they are.
 */
export function rotaryOrder(
  headDim: number,
  ropeDim: number,
  pairs: "neighbours" | "halves",
): readonly number[] | undefined {
  if (pairs === "halves" && ropeDim === headDim) return undefined;
  const [half, turning] = [headDim / 2, ropeDim / 2];
  return Array.from({ length: headDim }, (_, row) => {
    const side = row < half ? 0 : 1;
    const pair = row - side * half;
    if (pair >= turning) return ropeDim + side * (half - turning) + pair - turning;
    return pairs === "neighbours" ? 2 * pair + side : pair + side * turning;
  });
}

/** The rows of each head in another order. Blocks run along rows, so whole rows move, quantised or not. */
export function withHeadOrder(matrix: Matrix, order: readonly number[]): Matrix {
  const rowBytes = byteLengthOf(matrix.format, matrix.columns);
  return {
    ...matrix,
    assemble(inputs) {
      const source = matrix.assemble(inputs);
      const target = new Uint8Array(source.byteLength);
      for (let row = 0; row < matrix.rows; row++) {
        const within = row % order.length;
        const from = row - within + order[within]!;
        target.set(source.subarray(from * rowBytes, (from + 1) * rowBytes), row * rowBytes);
      }
      return target;
    },
  };
}

/** Matrices of one format and width on top of each other, so that one multiplication serves all. */
export function stack(matrices: readonly Matrix[]): Matrix {
  const first = matrices[0]!;
  return {
    rows: matrices.reduce((sum, { rows }) => sum + rows, 0),
    columns: first.columns,
    format: first.format,
    tensors: matrices.flatMap(({ tensors }) => tensors),
    assemble(inputs) {
      const parts: Uint8Array[] = [];
      let at = 0;
      for (const matrix of matrices) {
        parts.push(matrix.assemble(inputs.slice(at, at + matrix.tensors.length)));
        at += matrix.tensors.length;
      }
      return concat(parts);
    },
  };
}

/** Whether `stack` may join them. */
export function canStack(matrices: readonly Matrix[]): boolean {
  return matrices.every(({ format, columns }) => format === matrices[0]!.format && columns === matrices[0]!.columns);
}
