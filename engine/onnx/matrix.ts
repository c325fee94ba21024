/**
 * A weight matrix `[rows, columns]` as stored in a checkpoint: one tensor, or several on top of each other. Knows how GGUF orders
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
 * Undoes what llama.cpp's converter does to the rows of queries and keys (`reshape(heads, 2, dim/2).swapaxes(1, 2)`): rotary pairs
 * lie side by side in the file, half a head apart in the graph. Blocks run along rows, so whole rows move, quantised or not.
 */
export function withSplitRotaryPairs(matrix: Matrix, heads: number): Matrix {
  const headDim = matrix.rows / heads;
  const half = headDim / 2;
  const rowBytes = byteLengthOf(matrix.format, matrix.columns);
  return {
    ...matrix,
    assemble(inputs) {
      const source = matrix.assemble(inputs);
      const target = new Uint8Array(source.byteLength);
      for (let row = 0; row < matrix.rows; row++) {
        const within = row % headDim;
        const from = row - within + (within < half ? 2 * within : 2 * (within - half) + 1);
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
