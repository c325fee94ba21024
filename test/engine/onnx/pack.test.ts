import fc from "../../support/fast-check.ts";
import { expect, test } from "vitest";
import { BLOCK, corrections, offsetInt8, packNibbles, roundInto, transposeInto } from "../../../engine/onnx/pack.ts";

const ROWS = 3;
const COLUMNS = 2 * BLOCK;
const matrix = fc.float32Array({ minLength: ROWS * COLUMNS, maxLength: ROWS * COLUMNS, noNaN: true, min: -4, max: 4 });
const floats = (bytes: Uint8Array): Float32Array =>
  new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);

test("four bits: the even element in the low nibble, 8 is zero", () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: -8, max: 7 }), { minLength: 32, maxLength: 32 }), (quants) => {
      const packed = packNibbles(Int8Array.from(quants));
      expect(packed).toHaveLength(16);
      quants.forEach((quant, i) => {
        const byte = packed[i >> 1]!;
        expect((i % 2 === 0 ? byte & 15 : byte >> 4) - 8).toBe(quant);
      });
    }),
  );
});

test("eight bits: 128 is zero", () => {
  expect([...offsetInt8(Int8Array.of(-128, -1, 0, 1, 127))]).toEqual([0, 127, 128, 129, 255]);
});

test("corrections are the offsets with blocks first", () => {
  expect([...floats(corrections(Float32Array.of(1, 2, 3, 4, 5, 6), 3))]).toEqual([1, 3, 5, 2, 4, 6]);
});

test("rounded to eight bits, values keep to half a scale", () => {
  fc.assert(
    fc.property(matrix, (values) => {
      const quants = new Uint8Array(2 * BLOCK + values.length);
      const scales = new Float32Array(quants.length / BLOCK);
      roundInto(quants, scales, 2 * BLOCK, values);
      expect([...quants.subarray(0, 2 * BLOCK), ...scales.subarray(0, 2)].every((value) => value === 0)).toBe(true);
      quants.subarray(2 * BLOCK).forEach((quant, i) => {
        const scale = scales[2 + Math.floor(i / BLOCK)]!;
        expect(Math.abs((quant - 128) * scale - values[i]!)).toBeLessThanOrEqual(scale * 0.501);
      });
    }),
  );
});

test("a transposed matrix has each value at [column, row], for sizes that no tile divides, whole or in stretches", () => {
  const sizes = fc.integer({ min: 1, max: 40 });
  fc.assert(
    fc.property(sizes, sizes, fc.nat(40), (rows, columns, cut) => {
      const values = Float32Array.from({ length: rows * columns }, (_, i) => i);
      const out = new Float32Array(rows * columns);
      const split = Math.min(cut, rows);
      transposeInto(out, values.subarray(0, split * columns), { firstRow: 0, rows, columns });
      transposeInto(out, values.subarray(split * columns), { firstRow: split, rows, columns });
      for (let row = 0; row < rows; row++) {
        for (let column = 0; column < columns; column++)
          expect(out[column * rows + row]).toBe(values[row * columns + column]);
      }
    }),
  );
});
