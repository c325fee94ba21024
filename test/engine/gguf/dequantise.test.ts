import fc from "../../support/fast-check.ts";
import { expect, test } from "vitest";
import { blockOffsets, blockQuants, blockScales, blockShape, isBlockFormat } from "../../../engine/gguf/blocks.ts";
import { dequantise, forEachStretch } from "../../../engine/gguf/dequantise.ts";
import type { TensorFormat } from "../../../engine/gguf/format.ts";
import fixture from "../../fixtures/gguf-blocks.json" with { type: "json" };
import { quantise } from "../../support/gguf-writer.ts";

const values = (length: number): fc.Arbitrary<Float32Array> =>
  fc.float32Array({ minLength: length, maxLength: length, noNaN: true, min: -8, max: 8 });

/** Makes zeros of both signs equal: the sign of a zero means nothing in a weight. */
const plusZero = (array: Float32Array): Float32Array => array.map((value) => value + 0);

const CASES = Object.entries(fixture).map(([format, { bytes, values }]) => ({
  format: format as TensorFormat,
  bytes: Uint8Array.from(Buffer.from(bytes, "base64")),
  expected: new Float32Array(Uint8Array.from(Buffer.from(values, "base64")).buffer),
}));

test("every format that is packed differently is among the independent vectors", () => {
  expect(CASES.map(({ format }) => format).sort()).toEqual(
    ["BF16", "F16", "Q4_0", "Q4_1", "Q4_K", "Q5_0", "Q5_1", "Q5_K", "Q6_K", "Q8_0"].sort(),
  );
});

test.each(CASES)("$format: random blocks mean what the gguf package says", ({ format, bytes, expected }) => {
  expect(expected.length).toBeGreaterThanOrEqual(64);
  expect(plusZero(dequantise(format, bytes))).toEqual(plusZero(expected));
});

test.each(CASES.filter(({ format }) => isBlockFormat(format)))(
  "$format: as integers with a scale and an offset, the same to rounding",
  ({ format, bytes, expected }) => {
    if (!isBlockFormat(format)) throw new Error("filtered above");
    const quants = blockQuants(format, bytes);
    const { shared, hasOffsets } = blockShape(format);
    const [scales, offsets] = [blockScales(format, bytes), blockOffsets(format, bytes)];
    expect(scales).toHaveLength(expected.length / shared);
    expect(offsets.some((offset) => offset !== 0)).toBe(hasOffsets);
    expected.forEach((value, i) => {
      const share = Math.floor(i / shared);
      const size = Math.abs(scales[share]!) * 128 + Math.abs(offsets[share]!);
      expect(Math.abs(scales[share]! * quants[i]! + offsets[share]! - value)).toBeLessThanOrEqual(size * 2 ** -23);
    });
  },
);

test.each(["F32", "Q8_0", "Q4_0", "Q4_1"] as const)("%s: what a writer stored is read back exactly", (format) => {
  fc.assert(
    fc.property(values(64), (floats) => {
      const { bytes, values: stored } = quantise(floats, format);
      expect(plusZero(dequantise(format, bytes))).toEqual(plusZero(stored));
    }),
  );
});

test("rows may begin anywhere in a larger buffer", () => {
  for (const { format, bytes, expected } of CASES) {
    const shifted = new Uint8Array(bytes.length + 1);
    shifted.set(bytes, 1);
    expect(plusZero(dequantise(format, shifted.subarray(1)))).toEqual(plusZero(expected));
  }
});

test("a large matrix is visited in stretches of whole rows that leave nothing out", () => {
  const columns = 4096;
  const floats = Float32Array.from({ length: 600 * columns }, (_, i) => i);
  const seen: number[] = [];
  forEachStretch("F32", new Uint8Array(floats.buffer), columns, (stretch, firstRow) => {
    seen.push(stretch.length / columns);
    expect(stretch).toEqual(floats.subarray(firstRow * columns, firstRow * columns + stretch.length));
  });
  expect(seen).toEqual([256, 256, 88]);
});
