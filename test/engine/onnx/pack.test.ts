import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { dequantise } from "../../../engine/gguf/dequantise.ts";
import {
  BLOCK,
  blockCorrections,
  blockScales,
  int8Values,
  offsetInt8,
  packNibbles,
  roundedQuants,
  roundedScales,
  transpose,
} from "../../../engine/onnx/pack.ts";
import { quantise } from "../../support/gguf-writer.ts";

const ROWS = 3;
const COLUMNS = 2 * BLOCK;
const BLOCKS = COLUMNS / BLOCK;
const matrix = fc.float32Array({ minLength: ROWS * COLUMNS, maxLength: ROWS * COLUMNS, noNaN: true, min: -4, max: 4 });
const floats = (bytes: Uint8Array): Float32Array =>
  new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
const nibble = (quants: Uint8Array, i: number): number => (i % 2 === 0 ? quants[i >> 1]! & 15 : quants[i >> 1]! >> 4);

/** MatMulNBits' meaning of 4-bit and 8-bit weights without zero points. */
const meaning4 = (quants: Uint8Array, scales: Float32Array): Float32Array =>
  Float32Array.from({ length: quants.length * 2 }, (_, i) => (nibble(quants, i) - 8) * scales[Math.floor(i / BLOCK)]!);
const meaning8 = (quants: Uint8Array, scales: Float32Array): Float32Array =>
  Float32Array.from(quants, (quant, i) => (quant - 128) * scales[Math.floor(i / BLOCK)]!);

const mostDifference = (a: Float32Array, b: Float32Array): number =>
  a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i]!)), 0);

describe("MatMulNBits' weights mean what GGUF's do", () => {
  test("Q8_0, exactly", () => {
    fc.assert(
      fc.property(matrix, (values) => {
        const { bytes } = quantise(values, "Q8_0");
        const packed = meaning8(offsetInt8(int8Values(bytes)), floats(blockScales("Q8_0", bytes)));
        expect(mostDifference(packed, dequantise("Q8_0", bytes))).toBe(0);
      }),
    );
  });

  test("Q4_0, exactly", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 16 * ROWS, maxLength: 16 * ROWS }), (nibbles) => {
        const bytes = new Uint8Array(18 * ROWS);
        for (let block = 0; block < ROWS; block++) {
          new DataView(bytes.buffer).setFloat16(block * 18, 0.25 * (block + 1), true);
          bytes.set(nibbles.subarray(block * 16, block * 16 + 16), block * 18 + 2);
        }
        const packed = meaning4(packNibbles("Q4_0", bytes), floats(blockScales("Q4_0", bytes)));
        expect(mostDifference(packed, dequantise("Q4_0", bytes))).toBe(0);
      }),
    );
  });

  test("Q4_1, to rounding, once each block's correction is added", () => {
    fc.assert(
      fc.property(matrix, (values) => {
        const { bytes } = quantise(values, "Q4_1");
        const packed = meaning4(packNibbles("Q4_1", bytes), floats(blockScales("Q4_1", bytes)));
        const corrections = floats(blockCorrections(bytes, ROWS));
        const corrected = packed.map((value, i) => {
          const row = Math.floor(i / COLUMNS);
          const block = Math.floor(i / BLOCK) % BLOCKS;
          return value + corrections[block * ROWS + row]!;
        });
        expect(mostDifference(corrected, dequantise("Q4_1", bytes))).toBeLessThan(4e-6);
      }),
    );
  });

  test("other formats, to half a scale", () => {
    fc.assert(
      fc.property(matrix, (values) => {
        const scales = roundedScales(values);
        const packed = meaning8(roundedQuants(values), scales);
        values.forEach((value, i) =>
          expect(Math.abs(packed[i]! - value)).toBeLessThanOrEqual(scales[Math.floor(i / BLOCK)]! * 0.501),
        );
      }),
    );
  });
});

test("a transposed matrix has each value at [column, row], for sizes that no tile divides", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 40 }), (rows, columns) => {
      const values = Float32Array.from({ length: rows * columns }, (_, i) => i);
      const transposed = floats(transpose(values, rows, columns));
      for (let row = 0; row < rows; row++) {
        for (let column = 0; column < columns; column++)
          expect(transposed[column * rows + row]).toBe(values[row * columns + column]);
      }
    }),
  );
});
