/** Products by the kernels against plain arithmetic on what is stored and on what the inputs were rounded to; and what is stored against the checkpoint. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { dequantise } from "../../../engine/gguf/dequantise.ts";
import { BLOCK_LAYOUTS, type TensorFormat } from "../../../engine/gguf/format.ts";
import {
  BLOCK_BYTES,
  kernelFormOf,
  packed,
  quantBytes,
  readRow,
  type StoredMatrix,
} from "../../../engine/kernels/forms.ts";
import { compileKernels, instantiateKernels } from "../../../engine/kernels/instance.ts";
import { type Matrix, matrixOf } from "../../../engine/onnx/matrix.ts";
import { seededRandom } from "../../support/random.ts";
import { randomTensor } from "../../support/random-tensor.ts";

const memory = new WebAssembly.Memory({ initial: 16, maximum: 16 });
const kernels = instantiateKernels(compileKernels(false), memory);
const { buffer } = memory;
/** Places in the memory, bytes. */
const WEIGHTS = 0;
const X = 0x40000;
const QUANTS = 0x60000;
const FACTORS = 0x80000;
const Y = 0xa0000;
const GUARD = 12_345;

const FORMATS = Object.keys(BLOCK_LAYOUTS) as TensorFormat[];
const tensorOf = (format: TensorFormat, bytes: Uint8Array, rows: number, columns: number): Matrix =>
  matrixOf({ name: "w", format, shape: [rows, columns], offset: 0, byteLength: bytes.byteLength }, rows, columns);

/** Puts the matrix into the memory. */
function store(
  format: TensorFormat,
  rows: number,
  columns: number,
  isExact = false,
  seed = 1,
): StoredMatrix & { values: Float32Array } {
  const bytes = randomTensor(format, rows * columns, seed);
  const matrix = tensorOf(format, bytes, rows, columns);
  const form = kernelFormOf(matrix, 100_000_000, isExact);
  const recipe = packed(form, matrix);
  const made = recipe.make([bytes]);
  expect(made.byteLength).toBe(recipe.byteLength);
  new Uint8Array(buffer, WEIGHTS).set(made);
  return { form, rows, columns, at: 0, values: dequantise(format, bytes) };
}

function rowOf(matrix: StoredMatrix, row: number): Float32Array {
  const out = new Float32Array(matrix.columns);
  readRow(buffer, WEIGHTS, matrix, row, out);
  return out;
}

/** Results `[rows, outputs]` of these inputs, as the kernels give them. */
function multiply(matrix: StoredMatrix, x: Float32Array, rows: number): Float32Array {
  const { form, columns, rows: outputs } = matrix;
  new Float32Array(buffer, X).set(x);
  const y = new Float32Array(buffer, Y, (rows + 4) * outputs).fill(GUARD);
  const stride = outputs * 4;
  if (form === "f32") {
    kernels.f32(WEIGHTS, outputs, columns * 4, X, Y, stride, rows);
  } else {
    const blocks = columns / 32;
    for (let row = 0; row < rows; row++) {
      const tile = row >> 2;
      const lane = row & 3;
      kernels.quantise(
        X + row * columns * 4,
        blocks,
        QUANTS + tile * blocks * 256 + lane * 64,
        FACTORS + tile * blocks * 32 + lane * 4,
      );
    }
    kernels[form](WEIGHTS, WEIGHTS + quantBytes(matrix), outputs, blocks, QUANTS, FACTORS, Y, stride, rows);
  }
  return y.slice(0, rows * outputs);
}

/** To 16 bits with a scale for each block of 32. */
function rounded(x: Float32Array): Float32Array {
  const out = new Float32Array(x.length);
  for (let at = 0; at < x.length; at += 32) {
    const most = x.subarray(at, at + 32).reduce((a, b) => Math.max(a, Math.abs(b)), 0);
    for (let i = at; i < at + 32; i++) out[i] = most === 0 ? 0 : (Math.round((x[i]! / most) * 32_767) * most) / 32_767;
  }
  return out;
}

describe.each(FORMATS)("%s", (format) => {
  const isExact = !["Q5_1", "Q5_K", "I8_1", "F32", "F16", "BF16"].includes(format);
  test(`is stored ${isExact ? "exactly" : "to half a 127th of a block's largest"}, and in f32 exactly`, () => {
    const matrix = store(format, 5, 512);
    for (let row = 0; row < 5; row++) {
      const read = rowOf(matrix, row);
      for (let at = 0; at < 512; at += 32) {
        const values = matrix.values.subarray(row * 512 + at, row * 512 + at + 32);
        const most = values.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
        const error = values.reduce((worst, value, i) => Math.max(worst, Math.abs(value - read[at + i]!)), 0);
        expect(error).toBeLessThanOrEqual(isExact ? most * 3e-7 : (most / 254) * 1.0001);
      }
    }
    const exact = store(format, 5, 512, true);
    expect(exact.form).toBe("f32");
    expect([...rowOf(exact, 4)]).toEqual([...exact.values.subarray(4 * 512)]);
  });

  test("multiplies as plain arithmetic does", () => {
    for (const asF32 of [false, true]) {
      const matrix = store(format, 9, 768, asF32);
      const random = seededRandom(7);
      const x = Float32Array.from({ length: 6 * 768 }, () => 2 * random() - 1);
      const y = multiply(matrix, x, 6);
      const inputs = asF32 ? x : rounded(x);
      for (let row = 0; row < 6; row++) {
        for (let n = 0; n < 9; n++) {
          const weights = rowOf(matrix, n);
          let expected = 0;
          let size = 0;
          for (let k = 0; k < 768; k++) {
            expected += inputs[row * 768 + k]! * weights[k]!;
            size += Math.abs(inputs[row * 768 + k]! * weights[k]!);
          }
          expect(Math.abs(y[row * 9 + n]! - expected)).toBeLessThan(size * 2e-6);
        }
      }
    }
  });
});

const shapes = fc.record({
  format: fc.constantFrom("Q4_1" as const, "Q8_0" as const, "Q6_K" as const, "F32" as const),
  outputs: fc.integer({ min: 1, max: 13 }),
  blocks: fc.integer({ min: 1, max: 6 }),
  rows: fc.integer({ min: 1, max: 11 }),
  seed: fc.nat(),
});

test("a row's results are the same bits alone, in every tile and in every stretch of the matrix", () => {
  fc.assert(
    fc.property(shapes, ({ format, outputs, blocks: some, rows, seed }) => {
      const blocks = format === "Q6_K" ? 8 : some;
      const columns = blocks * 32;
      const matrix = store(format, outputs, columns, format === "F32", seed);
      const random = seededRandom(seed);
      // Of very different sizes, as the inputs of a model's last layers are.
      const x = Float32Array.from({ length: rows * columns }, () => (2 * random() - 1) * 10 ** (4 * random() - 2));
      const together = multiply(matrix, x, rows);
      for (let row = 0; row < rows; row++) {
        const alone = multiply(matrix, x.subarray(row * columns, (row + 1) * columns), 1);
        expect([...together.subarray(row * outputs, (row + 1) * outputs)]).toEqual([...alone]);
      }
      if (matrix.form === "f32" || outputs < 2) return;
      // The second half of the matrix by itself.
      const first = outputs >> 1;
      const { quants, factors } = BLOCK_BYTES[matrix.form];
      multiply(matrix, x, rows);
      kernels[matrix.form](
        WEIGHTS + first * blocks * quants,
        WEIGHTS + quantBytes(matrix) + first * blocks * factors,
        outputs - first,
        blocks,
        QUANTS,
        FACTORS,
        Y,
        outputs * 4,
        rows,
      );
      const part = new Float32Array(buffer, Y, rows * outputs);
      for (let row = 0; row < rows; row++)
        for (let n = first; n < outputs; n++) expect(part[row * outputs + n - first]).toBe(together[row * outputs + n]);
    }),
    { numRuns: 200 },
  );
});

test("the largest weights and inputs don't leave their integers", () => {
  const bytes = randomTensor("Q8_0", 4 * 64);
  for (let at = 0; at < bytes.length; at += 34) {
    new DataView(bytes.buffer).setFloat16(at, 1, true);
    bytes.fill(0x80, at + 2, at + 34);
  }
  const recipe = packed("int8", tensorOf("Q8_0", bytes, 4, 64));
  new Uint8Array(buffer, WEIGHTS).set(recipe.make([bytes]));
  const x = new Float32Array(4 * 64).fill(-3);
  const y = multiply({ form: "int8", rows: 4, columns: 64, at: 0 }, x, 4);
  for (const value of y) expect(value).toBeCloseTo(64 * 128 * 3, 1);
});

test.each([NaN, Infinity, -Infinity])("an input of %d makes no number of its row, and nothing of the others", (odd) => {
  for (const format of ["Q4_1", "Q8_0"] as const) {
    const matrix = store(format, 4, 96);
    const x = new Float32Array(3 * 96).fill(1);
    x[96 + 40] = odd;
    const y = multiply(matrix, x, 3);
    expect([...y.subarray(4, 8)].map((value) => Number.isFinite(value))).toEqual([false, false, false, false]);
    expect([...y.subarray(0, 4), ...y.subarray(8)].every((value) => Number.isFinite(value))).toBe(true);
  }
});

test("rows that blocks don't divide are f32, and those that vectors don't are refused", () => {
  const odd = tensorOf("F32", new Uint8Array(4 * 48 * 4), 4, 48);
  expect(kernelFormOf(odd, 100_000_000, false)).toBe("f32");
  expect(() => packed("f32", tensorOf("F32", new Uint8Array(4 * 50 * 4), 4, 50))).toThrow(
    'tensor "w" has 50 columns, which is no multiple of 4: wasm can\'t run it',
  );
  expect(kernelFormOf(tensorOf("F16", new Uint8Array(4 * 64 * 2), 4, 64), 1_000_000, false)).toBe("f32");
  expect(kernelFormOf(tensorOf("F16", new Uint8Array(4 * 64 * 2), 4, 64), 100_000_000, false)).toBe("int8");
});
