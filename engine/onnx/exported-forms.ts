/** What exporters to ONNX make of a matrix, turned back into rows. Pure. */
import { dequantise } from "../gguf/dequantise.ts";
import type { TensorFormat } from "../gguf/format.ts";

/** Rows become columns: `rows` by `columns` elements of `size` bytes, 2 or 4. */
export function transposed(bytes: Uint8Array, rows: number, columns: number, size: number): Uint8Array {
  // A copy where the bytes don't lie on an element's border.
  const whole = bytes.byteOffset % size === 0 ? bytes : Uint8Array.from(bytes);
  const view = (of: Uint8Array): Uint32Array | Uint16Array =>
    size === 4
      ? new Uint32Array(of.buffer, of.byteOffset, rows * columns)
      : new Uint16Array(of.buffer, of.byteOffset, rows * columns);
  const out = new Uint8Array(rows * columns * size);
  const [from, to] = [view(whole), view(out)];
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++) to[column * rows + row] = from[row * columns + column]!;
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
