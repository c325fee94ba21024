import fc from "fast-check";
import { expect, test } from "vitest";
import { dequantise } from "../../../engine/gguf/dequantise.ts";
import { quantise } from "../../support/gguf-writer.ts";

const values = (length: number): fc.Arbitrary<Float32Array> =>
  fc.float32Array({ minLength: length, maxLength: length, noNaN: true, min: -8, max: 8 });

/** Makes zeros of both signs equal: the sign of a zero means nothing in a weight. */
const plusZero = (array: Float32Array): Float32Array => array.map((value) => value + 0);

test.each(["F32", "Q8_0", "Q4_1"] as const)("%s: what a writer stored is read back exactly", (format) => {
  fc.assert(
    fc.property(values(64), (floats) => {
      const { bytes, values: stored } = quantise(floats, format);
      expect(plusZero(dequantise(format, bytes))).toEqual(plusZero(stored));
    }),
  );
});

test("rows may begin anywhere in a larger buffer", () => {
  const { bytes, values: stored } = quantise(
    Float32Array.from({ length: 64 }, (_, i) => i - 20),
    "F32",
  );
  const shifted = new Uint8Array(bytes.length + 1);
  shifted.set(bytes, 1);
  expect(dequantise("F32", shifted.subarray(1))).toEqual(stored);
});

test("F16 and BF16", () => {
  const f16 = new Uint8Array(8);
  const view = new DataView(f16.buffer);
  [1.5, -0.25, 65504, 2 ** -24].forEach((value, i) => view.setFloat16(2 * i, value, true));
  expect([...dequantise("F16", f16)]).toEqual([1.5, -0.25, 65504, 2 ** -24]);
  // 1.0, -2.5 and 3.140625 are exact in bfloat16.
  expect([...dequantise("BF16", Uint8Array.of(0x80, 0x3f, 0x20, 0xc0, 0x49, 0x40))]).toEqual([1, -2.5, 3.140625]);
});

test("Q4_0: nibbles around 8, first half in the low ones", () => {
  const block = new Uint8Array(18);
  new DataView(block.buffer).setFloat16(0, 0.5, true);
  for (let i = 0; i < 16; i++) block[2 + i] = i | ((15 - i) << 4);
  const expected = Array.from({ length: 32 }, (_, i) => 0.5 * ((i < 16 ? i : 31 - i) - 8));
  expect([...dequantise("Q4_0", block)]).toEqual(expected);
});

test("Q6_K: six bits in two places, a scale for each sixteen", () => {
  const quants = fc.array(fc.integer({ min: 0, max: 63 }), { minLength: 256, maxLength: 256 });
  const scales = fc.array(fc.integer({ min: -128, max: 127 }), { minLength: 16, maxLength: 16 });
  fc.assert(
    fc.property(quants, scales, (q, scale) => {
      const block = new Uint8Array(210);
      const view = new DataView(block.buffer);
      view.setFloat16(208, 0.125, true);
      scale.forEach((value, i) => view.setInt8(192 + i, value));
      // As gguf-py's quantiser packs them: reshape(2, 2, 2, 32) of the low nibbles, reshape(2, 4, 32) of the high bits.
      q.forEach((value, i) => {
        const half = Math.floor(i / 128);
        const quarter = Math.floor((i % 128) / 32);
        const lane = i % 32;
        const low = half * 64 + (quarter % 2) * 32 + lane;
        const high = 128 + half * 32 + lane;
        block[low] = block[low]! | ((value & 15) << (quarter < 2 ? 0 : 4));
        block[high] = block[high]! | ((value >> 4) << (2 * quarter));
      });
      const expected = Float32Array.from(q, (value, i) => 0.125 * scale[Math.floor(i / 16)]! * (value - 32));
      expect(plusZero(dequantise("Q6_K", block))).toEqual(plusZero(expected));
    }),
  );
});
