/** How a matrix of a checkpoint is stored for the kernels of `int4.wat` and `int8.wat`, and how a row of it is read back. Knows no architecture. */
import { CheckpointError } from "../gguf/error.ts";
import { blockOffsets, blockQuants, blockScales, isBlockFormat } from "../gguf/blocks.ts";
import { forEachStretch } from "../gguf/dequantise.ts";
import { hasFourBits, isExactInt8, type LinearForm } from "../onnx/linear.ts";
import type { Recipe } from "../onnx/graph.ts";
import type { Matrix } from "../onnx/matrix.ts";
import { BLOCK, bytesOf, offsetInt8, roundInto } from "../onnx/pack.ts";
import { SMALL_MODEL_ELEMENTS } from "../onnx/target.ts";

/** f32 values in a vector of the kernels. */
const LANES = 4;

/** `int8x2`: eight bits with a scale for each half of a block. */
export type KernelForm = LinearForm | "int8x2";

/** Bytes of a block's quants, and of its factors: a scale, with four bits an offset too. */
export const BLOCK_BYTES = {
  int4: { quants: 16, factors: 8 },
  int8: { quants: 32, factors: 4 },
  int8x2: { quants: 32, factors: 8 },
} as const;

export interface StoredMatrix {
  readonly form: KernelForm;
  readonly rows: number;
  readonly columns: number;
  /** Byte of the weights where it begins; factors lie behind all quants. */
  readonly at: number;
}

/**
 * What a matrix is stored as, in a checkpoint of `elements` values altogether: four, six and eight bits exactly, five with an offset and
 * unquantised values as eight, rounded, or in small models as f32. `isExact`: f32 in any case.
 */
export function kernelFormOf({ format, columns }: Matrix, elements: number, isExact: boolean): KernelForm {
  if (isExact || columns % BLOCK !== 0 || (!isBlockFormat(format) && elements <= SMALL_MODEL_ELEMENTS)) return "f32";
  if (format === "Q6_K") return "int8x2";
  return hasFourBits(format) ? "int4" : "int8";
}

/** Whether every value stays what it is. */
export const isExactAs = (form: KernelForm, { format }: Matrix): boolean => form !== "int8" || isExactInt8(format);

/** Bytes of all quants together: where factors begin. */
export function quantBytes({ form, rows, columns }: Pick<StoredMatrix, "form" | "rows" | "columns">): number {
  return form === "f32" ? rows * columns * 4 : rows * (columns / BLOCK) * BLOCK_BYTES[form].quants;
}

/** How the matrix is made. Throws CheckpointError for widths that the kernels can't take. */
export function packed(form: KernelForm, matrix: Matrix): Recipe {
  const { rows, columns, format, tensors } = matrix;
  if (columns % LANES !== 0) {
    throw new CheckpointError(
      `tensor ${JSON.stringify(tensors[0]!.name)} has ${columns} columns, which is no multiple of ${LANES}: wasm can't run it`,
    );
  }
  const quants = quantBytes({ form, rows, columns });
  const byteLength = form === "f32" ? quants : quants + rows * (columns / BLOCK) * BLOCK_BYTES[form].factors;
  return {
    inputs: tensors,
    byteLength,
    make(inputs) {
      const source = matrix.assemble(inputs);
      const out = new Uint8Array(byteLength);
      if (form === "f32") {
        forEachStretch(format, source, columns, (values, row) => out.set(bytesOf(values), row * columns * 4));
        return out;
      }
      if (form === "int4") {
        if (!hasFourBits(format)) throw new Error(`the form int4 needs tensors of four bits, not ${format}`);
        packWords(new Uint16Array(out.buffer, 0, quants / 2), blockQuants(format, source));
        const factors = new Float32Array(out.buffer, quants);
        const offsets = blockOffsets(format, source);
        blockScales(format, source).forEach((scale, i) => {
          factors[2 * i] = scale;
          // What the quants have below zero.
          factors[2 * i + 1] = offsets[i]! - 8 * scale;
        });
        return out;
      }
      if (format === "Q6_K" || isExactInt8(format)) {
        out.set(bytesOf(blockQuants(format, source)));
        out.set(bytesOf(blockScales(format, source)), quants);
        return out;
      }
      const rounded = out.subarray(0, quants);
      const scales = new Float32Array(out.buffer, quants);
      forEachStretch(format, source, columns, (values, row) => roundInto(rounded, scales, row * columns, values));
      offsetInt8(rounded);
      return out;
    },
  };
}

/** Word j of a block's eight holds values j, 8 + j, 16 + j and 24 + j. */
function packWords(words: Uint16Array, quants: Int8Array): void {
  for (let i = 0, at = 0; i < words.length; i++, at++) {
    if (i % 8 === 0) at = i * LANES;
    words[i] =
      (quants[at]! + 8) | ((quants[at + 8]! + 8) << 4) | ((quants[at + 16]! + 8) << 8) | ((quants[at + 24]! + 8) << 12);
  }
}

/** Reads one row into `out`. `weights` is the address of the weights in `memory`. */
export function readRow(
  memory: ArrayBufferLike,
  weights: number,
  matrix: StoredMatrix,
  row: number,
  out: Float32Array,
): void {
  const { form, columns } = matrix;
  const at = weights + matrix.at;
  if (form === "f32") {
    out.set(new Float32Array(memory, at + row * columns * 4, columns));
    return;
  }
  const blocks = columns / BLOCK;
  const { quants, factors } = BLOCK_BYTES[form];
  const scales = new Float32Array(memory, at + quantBytes(matrix) + row * blocks * factors, (blocks * factors) / 4);
  if (form !== "int4") {
    const bytes = new Int8Array(memory, at + row * blocks * quants, columns);
    const shared = columns / scales.length;
    for (let i = 0; i < columns; i++) out[i] = scales[Math.floor(i / shared)]! * bytes[i]!;
    return;
  }
  const words = new Uint16Array(memory, at + row * blocks * quants, blocks * 8);
  for (let i = 0; i < columns; i++) {
    const block = Math.floor(i / BLOCK);
    const bits = (words[block * 8 + (i % 8)]! >> (4 * ((i % BLOCK) >> 3))) & 15;
    out[i] = scales[2 * block]! * bits + scales[2 * block + 1]!;
  }
}
