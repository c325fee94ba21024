/**
 * GGUF tensor formats: their numbers in the file and the size of their blocks. Layouts: ggml's `ggml-common.h`. And two that no file has,
 * for bytes with f32 scales: what exporters to ONNX write, as blocks. Knows nothing of files.
 */

export type TensorFormat =
  | "F32"
  | "F16"
  | "BF16"
  | "Q4_0"
  | "Q4_1"
  | "Q5_0"
  | "Q5_1"
  | "Q8_0"
  | "Q4_K"
  | "Q5_K"
  | "Q6_K"
  /** f32 scale, 32 int8. */
  | "I8_0"
  /** f32 scale, f32 zero point, 32 int8. */
  | "I8_1";

export interface BlockLayout {
  /** Elements in one block; blocks run along a row. */
  readonly elements: number;
  /** Bytes of one block. */
  readonly bytes: number;
}

export const BLOCK_LAYOUTS: Readonly<Record<TensorFormat, BlockLayout>> = {
  F32: { elements: 1, bytes: 4 },
  F16: { elements: 1, bytes: 2 },
  BF16: { elements: 1, bytes: 2 },
  Q4_0: { elements: 32, bytes: 18 },
  Q4_1: { elements: 32, bytes: 20 },
  Q5_0: { elements: 32, bytes: 22 },
  Q5_1: { elements: 32, bytes: 24 },
  Q8_0: { elements: 32, bytes: 34 },
  Q4_K: { elements: 256, bytes: 144 },
  Q5_K: { elements: 256, bytes: 176 },
  Q6_K: { elements: 256, bytes: 210 },
  I8_0: { elements: 32, bytes: 36 },
  I8_1: { elements: 32, bytes: 40 },
};

const FORMAT_OF_ID: ReadonlyMap<number, TensorFormat> = new Map([
  [0, "F32"],
  [1, "F16"],
  [2, "Q4_0"],
  [3, "Q4_1"],
  [6, "Q5_0"],
  [7, "Q5_1"],
  [8, "Q8_0"],
  [12, "Q4_K"],
  [13, "Q5_K"],
  [14, "Q6_K"],
  [30, "BF16"],
]);

/** What people call the formats that exist but can't be read, for the error. */
const UNREAD_FORMATS: ReadonlyMap<number, string> = new Map([
  [9, "Q8_1"],
  [10, "Q2_K"],
  [11, "Q3_K"],
  [15, "Q8_K"],
  [16, "IQ2_XXS"],
  [17, "IQ2_XS"],
  [18, "IQ3_XXS"],
  [19, "IQ1_S"],
  [20, "IQ4_NL"],
  [21, "IQ3_S"],
  [22, "IQ2_S"],
  [23, "IQ4_XS"],
  [29, "IQ1_M"],
  [34, "TQ1_0"],
  [35, "TQ2_0"],
  [39, "MXFP4"],
]);

/** The formats that a GGUF file may have, for messages. */
export const GGUF_FORMATS: readonly TensorFormat[] = [...new Set(FORMAT_OF_ID.values())];

/** The format with this number in the file, or undefined where this reader doesn't know it. */
export function formatOfId(id: number): TensorFormat | undefined {
  return FORMAT_OF_ID.get(id);
}

/** A name for a format that can't be read. */
export function nameOfUnreadFormat(id: number): string {
  return UNREAD_FORMATS.get(id) ?? `number ${id}`;
}

/** Bytes of `elements` values in `format`; `elements` is a multiple of the block. */
export function byteLengthOf(format: TensorFormat, elements: number): number {
  const { elements: perBlock, bytes } = BLOCK_LAYOUTS[format];
  return (elements / perBlock) * bytes;
}
