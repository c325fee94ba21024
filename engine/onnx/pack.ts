/**
 * Weight layouts of ONNX Runtime's multiplications, from a matrix's row bytes. Pure functions on arrays.
 * MatMulNBits (ContribOperators.md): quants `[rows, blocks, block * bits / 8]`, low nibble first; scales `[rows, blocks]`; without
 * zero points the value is `(quant - 2^(bits-1)) * scale`. Exactness of each mapping: see the functions.
 */
import { BLOCK_LAYOUTS } from "../gguf/format.ts";

/** Elements along a row that share a scale: GGUF's block, and what every fast kernel of ONNX Runtime wants. */
export const BLOCK = 32;

const INT8_MOST = 127;
const INT4_OFFSET = 8;

/** The bytes under an f32 array, not copied. */
export const bytesOf = (array: Float32Array): Uint8Array =>
  new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** `[rows, columns]` to `[columns, rows]`, as MatMul wants it. In tiles, to stay within the cache. */
export function transpose(values: Float32Array, rows: number, columns: number): Uint8Array {
  const tile = 16;
  const out = new Float32Array(values.length);
  for (let rowStart = 0; rowStart < rows; rowStart += tile) {
    const rowEnd = Math.min(rows, rowStart + tile);
    for (let column = 0; column < columns; column++) {
      for (let row = rowStart; row < rowEnd; row++) out[column * rows + row] = values[row * columns + column]!;
    }
  }
  return bytesOf(out);
}

/** The nibbles of Q4_0 or Q4_1 blocks in MatMulNBits' order: exact. GGUF pairs element i with i + 16, MatMulNBits 2i with 2i + 1. */
export function packNibbles(format: "Q4_0" | "Q4_1", rows: Uint8Array): Uint8Array {
  const blockBytes = BLOCK_LAYOUTS[format].bytes;
  const head = blockBytes - BLOCK / 2;
  const blocks = rows.byteLength / blockBytes;
  const out = new Uint8Array(blocks * (BLOCK / 2));
  for (let block = 0, from = head, to = 0; block < blocks; block++, from += blockBytes, to += BLOCK / 2) {
    for (let i = 0; i < 8; i++) {
      const even = rows[from + 2 * i]!;
      const odd = rows[from + 2 * i + 1]!;
      out[to + i] = (even & 15) | ((odd & 15) << 4);
      out[to + i + 8] = (even >> 4) | (odd & 0xf0);
    }
  }
  return out;
}

/** The scale in front of each block, as f32: exact. */
export function blockScales(format: "Q4_0" | "Q4_1" | "Q8_0", rows: Uint8Array): Uint8Array {
  const blockBytes = BLOCK_LAYOUTS[format].bytes;
  const view = viewOf(rows);
  return bytesOf(
    Float32Array.from({ length: rows.byteLength / blockBytes }, (_, block) =>
      view.getFloat16(block * blockBytes, true),
    ),
  );
}

/**
 * What MatMulNBits leaves out of Q4_1: a block's value is `scale * q + minimum = scale * (q - 8) + (8 * scale + minimum)`. The second
 * term is the same for the block's 32 elements, so it is multiplied by the sum of the inputs: `[blocks per row, rows]` for MatMul.
 */
export function blockCorrections(rows: Uint8Array, rowCount: number): Uint8Array {
  const blockBytes = BLOCK_LAYOUTS.Q4_1.bytes;
  const blocksPerRow = rows.byteLength / blockBytes / rowCount;
  const view = viewOf(rows);
  const out = new Float32Array(rowCount * blocksPerRow);
  for (let row = 0; row < rowCount; row++) {
    for (let block = 0; block < blocksPerRow; block++) {
      const at = (row * blocksPerRow + block) * blockBytes;
      out[block * rowCount + row] = INT4_OFFSET * view.getFloat16(at, true) + view.getFloat16(at + 2, true);
    }
  }
  return bytesOf(out);
}

/** The int8 values of Q8_0 blocks: exact. */
export function int8Values(rows: Uint8Array): Uint8Array {
  const blockBytes = BLOCK_LAYOUTS.Q8_0.bytes;
  const blocks = rows.byteLength / blockBytes;
  const out = new Uint8Array(blocks * BLOCK);
  for (let block = 0; block < blocks; block++) {
    out.set(rows.subarray(block * blockBytes + 2, (block + 1) * blockBytes), block * BLOCK);
  }
  return out;
}

/** int8 to MatMulNBits' uint8 with 128 as zero: exact. In place. */
export function offsetInt8(values: Uint8Array): Uint8Array {
  for (let i = 0; i < values.length; i++) values[i] = values[i]! ^ 0x80;
  return values;
}

/** Symmetric scales of blocks of 32 for 8 bits, rounding to nearest. */
export function roundedScales(values: Float32Array): Float32Array {
  const scales = new Float32Array(values.length / BLOCK);
  for (let block = 0; block < scales.length; block++) {
    let most = 0;
    for (let i = block * BLOCK; i < (block + 1) * BLOCK; i++) most = Math.max(most, Math.abs(values[i]!));
    scales[block] = most / INT8_MOST;
  }
  return scales;
}

/** Values as uint8 with 128 as zero, by the scales of `roundedScales`. Error at most half a scale. */
export function roundedQuants(values: Float32Array): Uint8Array {
  const scales = roundedScales(values);
  const out = new Uint8Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const scale = scales[Math.floor(i / BLOCK)]!;
    out[i] = 128 + (scale === 0 ? 0 : Math.round(values[i]! / scale));
  }
  return out;
}
