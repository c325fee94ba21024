/**
 * Weight layouts of ONNX Runtime's multiplications. Pure functions on arrays.
 * MatMulNBits (ContribOperators.md): quants `[rows, blocks, block * bits / 8]`, low nibble first; scales `[rows, blocks]`; without
 * zero points the value is `(quant - 2^(bits-1)) * scale`. Exactness of each mapping: see the functions.
 */

/** Elements along a row that share a scale: GGUF's block, and what every fast kernel of ONNX Runtime wants. */
export const BLOCK = 32;

const INT8_MOST = 127;

/** The bytes under an array, not copied. */
export const bytesOf = (array: Float32Array | Float64Array | Int8Array): Uint8Array =>
  new Uint8Array(array.buffer, array.byteOffset, array.byteLength);

/** Puts rows from `firstRow` on of a `[rows, columns]` matrix into `out` as `[columns, rows]`, as MatMul wants it. In tiles, to stay within the cache. */
export function transposeInto(
  out: Float32Array,
  values: Float32Array,
  { firstRow, rows, columns }: { readonly firstRow: number; readonly rows: number; readonly columns: number },
): void {
  const tile = 16;
  const count = values.length / columns;
  for (let tileStart = 0; tileStart < count; tileStart += tile) {
    const tileEnd = Math.min(count, tileStart + tile);
    for (let column = 0; column < columns; column++) {
      for (let row = tileStart; row < tileEnd; row++)
        out[column * rows + firstRow + row] = values[row * columns + column]!;
    }
  }
}

/** Signed 4-bit quants, two a byte with 8 as zero: exact. */
export function packNibbles(quants: Int8Array): Uint8Array {
  const out = new Uint8Array(quants.length / 2);
  for (let i = 0; i < out.length; i++) out[i] = (quants[2 * i]! + 8) | ((quants[2 * i + 1]! + 8) << 4);
  return out;
}

/**
 * What MatMulNBits leaves out of formats with an offset, which is the same for a block's 32 elements, so that it is multiplied by the
 * sum of the inputs: `[rows, blocks]` as `[blocks, rows]` for MatMul.
 */
export function corrections(offsets: Float32Array, rows: number): Uint8Array {
  const out = new Float32Array(offsets.length);
  transposeInto(out, offsets, { firstRow: 0, rows, columns: offsets.length / rows });
  return bytesOf(out);
}

/** int8 to MatMulNBits' uint8 with 128 as zero, or back: exact. In place. */
export function offsetInt8(quants: Int8Array | Uint8Array): Uint8Array {
  const bytes = new Uint8Array(quants.buffer, quants.byteOffset, quants.byteLength);
  for (let i = 0; i < bytes.length; i++) bytes[i] = bytes[i]! ^ 0x80;
  return bytes;
}

/**
 * Blocks of 32 values as uint8 with 128 as zero, each with a scale: rounded to nearest, which errs by half a scale at most. `at` is the place
 * of the first value in `quants`, `at / 32` that of its scale.
 */
export function roundInto(quants: Uint8Array, scales: Float32Array, at: number, values: Float32Array): void {
  for (let from = 0; from < values.length; from += BLOCK) {
    let most = 0;
    for (let i = from; i < from + BLOCK; i++) {
      const size = Math.abs(values[i]!);
      if (size > most) most = size;
    }
    scales[(at + from) / BLOCK] = most / INT8_MOST;
    const inverse = most === 0 ? 0 : INT8_MOST / most;
    // Truncation: half more than the number, which is above 0, is rounded down.
    for (let i = from; i < from + BLOCK; i++) quants[at + i] = values[i]! * inverse + 128.5;
  }
}
