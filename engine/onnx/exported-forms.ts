/** What exporters to ONNX make of a matrix, turned back into rows. Pure. */
import { dequantise } from "../gguf/dequantise.ts";
import { BLOCK_LAYOUTS, type TensorFormat } from "../gguf/format.ts";

const UINT8_CENTRE = 128;

/** Rows become columns: `rows` by `columns` elements of `size` bytes. */
export function transposed(bytes: Uint8Array, rows: number, columns: number, size: 1 | 2 | 4): Uint8Array {
  // A copy where the bytes don't lie on an element's border.
  const whole = bytes.byteOffset % size === 0 ? bytes : Uint8Array.from(bytes);
  const view = ({ buffer, byteOffset }: Uint8Array): Uint8Array | Uint16Array | Uint32Array =>
    new { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array }[size](buffer as ArrayBuffer, byteOffset, rows * columns);
  const out = new Uint8Array(rows * columns * size);
  const [from, to] = [view(whole), view(out)];
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++) to[column * rows + row] = from[row * columns + column]!;
  return out;
}

export interface ByteMatrix {
  readonly rows: number;
  readonly columns: number;
  /** Row by row. */
  readonly quants: Uint8Array;
  /** Whether the quants are int8; else uint8. */
  readonly isSigned: boolean;
  /** One for each row, or one for all. */
  readonly scales: Float32Array;
  /** As many as there are scales, or one; of the quants' type. */
  readonly zeros: Uint8Array;
}

/** The form that keeps a matrix of bytes exact: without zero points where all are in the middle of the range. */
export function byteForm({
  columns,
  isSigned,
  zeros,
}: Pick<ByteMatrix, "columns" | "isSigned" | "zeros">): TensorFormat {
  if (columns % BLOCK_LAYOUTS.I8_0.elements !== 0) return "F32";
  return zeros.every((zero) => zero === (isSigned ? 0 : UINT8_CENTRE)) ? "I8_0" : "I8_1";
}

/** `scale * (quant - zero)` in `byteForm`: as ONNX defines MatMulInteger with the scales that follow it, and DequantizeLinear. */
export function byteRows(matrix: ByteMatrix): Uint8Array {
  const { rows, columns, quants, isSigned, scales, zeros } = matrix;
  const format = byteForm(matrix);
  const { elements, bytes } = format === "F32" ? { elements: columns, bytes: 4 * columns } : BLOCK_LAYOUTS[format];
  // uint8 with 128 as zero and int8 differ in their highest bit.
  const flip = isSigned ? 0 : UINT8_CENTRE;
  const signed = (byte: number): number => ((byte ^ flip) << 24) >> 24;
  const out = new Uint8Array((rows * columns * bytes) / elements);
  const view = new DataView(out.buffer);
  for (let at = 0, to = 0; at < quants.length; at += elements, to += bytes) {
    const row = Math.floor(at / columns);
    const scale = scales[scales.length === 1 ? 0 : row]!;
    const zero = signed(zeros[zeros.length === 1 ? 0 : row]!);
    if (format === "F32") {
      for (let i = 0; i < elements; i++) view.setFloat32(to + 4 * i, scale * (signed(quants[at + i]!) - zero), true);
      continue;
    }
    view.setFloat32(to, scale, true);
    if (format === "I8_1") view.setFloat32(to + 4, zero, true);
    for (let i = 0; i < elements; i++) out[to + bytes - elements + i] = quants[at + i]! ^ flip;
  }
  return out;
}

export interface NBitMatrix {
  readonly rows: number;
  readonly columns: number;
  readonly bits: 4 | 8;
  /** Elements along a row that share a scale and a zero point. */
  readonly block: number;
  /** Each row by itself, in whole blocks; of 4 bits the even element in the low nibble. */
  readonly quants: Uint8Array;
  /** One for each block. */
  readonly scales: Uint8Array;
  readonly scaleFormat: TensorFormat;
  /** One for each block, packed as the quants are; undefined: the middle of the range. */
  readonly zeros: Uint8Array | undefined;
}

/** `scale * (quant - zero)` in f32, row by row: as ONNX Runtime's MatMulNBits and GatherBlockQuantized define it. */
export function nBitRows({ rows, columns, bits, block, quants, scales, scaleFormat, zeros }: NBitMatrix): Uint8Array {
  const out = new Float32Array(rows * columns);
  const scaleOf = dequantise(scaleFormat, scales);
  const blocks = Math.ceil(columns / block);
  const quantBytes = (blocks * block * bits) / 8;
  const zeroBytes = Math.ceil((blocks * bits) / 8);
  const at = (bytes: Uint8Array, start: number, i: number): number =>
    bits === 8 ? bytes[start + i]! : (bytes[start + (i >> 1)]! >> (4 * (i & 1))) & 15;
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const part = Math.floor(column / block);
      const zero = zeros === undefined ? 1 << (bits - 1) : at(zeros, row * zeroBytes, part);
      out[row * columns + column] = scaleOf[row * blocks + part]! * (at(quants, row * quantBytes, column) - zero);
    }
  }
  return new Uint8Array(out.buffer);
}
