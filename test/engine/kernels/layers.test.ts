/** What lies between the products, against plain arithmetic. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { compileKernels, instantiateKernels } from "../../../engine/kernels/instance.ts";
import { attend, rotate } from "../../../engine/reference/attention.ts";
import { seededRandom } from "../../support/random.ts";

const memory = new WebAssembly.Memory({ initial: 8, maximum: 8 });
const kernels = instantiateKernels(compileKernels(false), memory);
const { buffer } = memory;
const [A, B, C, D, E] = [0, 0x10000, 0x20000, 0x40000, 0x60000] as const;

const put = (at: number, values: Float32Array): void => new Float32Array(buffer, at).set(values);
const got = (at: number, length: number): Float32Array => new Float32Array(buffer, at, length).slice();
function draw(length: number, seed: number, size = 1): Float32Array {
  const random = seededRandom(seed);
  return Float32Array.from({ length }, () => size * (2 * random() - 1));
}
const worst = (actual: Float32Array, expected: ArrayLike<number>): number =>
  actual.reduce((most, value, i) => Math.max(most, Math.abs(value - expected[i]!)), 0);

const vectors = { quads: fc.integer({ min: 1, max: 40 }), seed: fc.nat() };

test("adding, and the norm of a row, in place too", () => {
  fc.assert(
    fc.property(fc.record(vectors), ({ quads, seed }) => {
      const n = 4 * quads;
      const [x, w] = [draw(n, seed, 3), draw(n, seed + 1)];
      put(A, x);
      put(B, w);
      kernels.add(A, B, n * 4);
      expect([...got(A, n)]).toEqual([...x.map((value, i) => value + w[i]!)]);
      put(A, x);
      const scale = 1 / Math.sqrt(x.reduce((sum, value) => sum + value * value, 0) / n + 1e-6);
      const expected = x.map((value, i) => value * scale * w[i]!);
      kernels.norm(A, B, n * 4, 1e-6, C);
      kernels.norm(A, B, n * 4, 1e-6, A);
      expect(worst(got(C, n), expected)).toBeLessThan(1e-5);
      expect([...got(A, n)]).toEqual([...got(C, n)]);
    }),
  );
});

test("heads are turned as the papers say, in halves", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 32 }), fc.nat({ max: 5_000 }), fc.nat(), (eighths, position, seed) => {
      const headDim = 8 * eighths;
      const x = draw(headDim, seed);
      const angles = Float64Array.from({ length: headDim / 2 }, (_, i) => position / 10_000 ** ((2 * i) / headDim));
      put(A, x);
      put(B, Float32Array.from(angles, Math.cos));
      put(C, Float32Array.from(angles, Math.sin));
      kernels.rotate(A, headDim * 2, B, C);
      rotate(x, headDim, position, 10_000, { pairs: "halves" });
      expect(worst(got(A, headDim), x)).toBeLessThan(1e-6);
    }),
  );
});

/** From where both are nearly nothing to where they are their input, and beyond what exp can take. */
const GATES = Float32Array.from({ length: 4_096 }, (_, i) => (i - 2_048) / 20);

test("SiLU and GELU of a gate, times the other half, to 1e-6 of their input", () => {
  const ups = draw(GATES.length, 3);
  const tanh = (x: number): number => Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3));
  for (const [kernel, activate] of [
    [kernels.silu, (x: number) => x / (1 + Math.exp(-x))],
    [kernels.gelu, (x: number) => 0.5 * x * (1 + tanh(x))],
  ] as const) {
    put(A, GATES);
    put(B, ups);
    kernel(A, B, GATES.length * 4);
    got(A, GATES.length).forEach((value, i) => {
      const x = GATES[i]!;
      expect(Math.abs(value - activate(x) * ups[i]!), String(x)).toBeLessThanOrEqual(
        1e-6 * Math.max(1e-3, Math.abs(x)),
      );
    });
    put(A, Float32Array.of(NaN, 1, -200, 200));
    put(B, Float32Array.of(1, 1, 1, 1));
    kernel(A, B, 16);
    const [nan, , low, high] = got(A, 4);
    expect([nan, high]).toEqual([NaN, 200]);
    expect(Math.abs(low!)).toBeLessThan(1e-30);
  }
});

test("attention over any number of positions; what lies behind them counts for nothing, whatever it is", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 70 }),
      fc.integer({ min: 1, max: 12 }),
      fc.nat(),
      fc.constantFrom(1, 60),
      (count, quads, seed, spread) => {
        const headDim = 4 * quads;
        const [q, k, v] = [
          draw(headDim, seed, spread),
          draw(count * headDim, seed + 1),
          draw(count * headDim, seed + 2),
        ];
        new Float32Array(buffer).fill(NaN);
        put(A, q);
        put(C, k);
        put(D, v);
        kernels.attend(A, C, D, count, headDim * 4, 0.3, E, B);
        const shape = { heads: 1, kvHeads: 1, headDim };
        expect(worst(got(B, headDim), attend(q, k, v, count, shape, { scale: 0.3 }))).toBeLessThan(2e-5);
      },
    ),
  );
});

test("a score that is no number makes none of the whole head", () => {
  put(A, Float32Array.of(1, 1, 1, 1));
  put(C, new Float32Array(8 * 4).fill(1));
  put(D, new Float32Array(8 * 4).fill(1));
  new Float32Array(buffer, C)[9] = NaN;
  kernels.attend(A, C, D, 8, 16, 1, E, B);
  expect([...got(B, 4)]).toEqual([NaN, NaN, NaN, NaN]);
});
