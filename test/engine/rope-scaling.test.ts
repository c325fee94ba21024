/** Stretched rotary angles, of the engine and of the oracle, against tables that `test/fixtures/rope-tables.py` worked out by itself. */
import { describe, expect, test } from "vitest";
import { rotate } from "../../engine/reference/attention.ts";
import { longRopeScale, YARN_TURNS, yarnFactors, yarnScale } from "../../engine/rope-scaling.ts";
import fixture from "../fixtures/rope-tables.json" with { type: "json" };

describe.each(fixture.cases)("$name of $headDim dimensions, base $theta", (given) => {
  const { name, headDim, theta, factor, factors: listed, original, context, extra, scale, paces, rows } = given;
  const factors =
    name === "yarn"
      ? yarnFactors({
          ...{ ropeDim: headDim, theta, factor: factor!, original },
          fast: extra?.beta_fast ?? YARN_TURNS.fast,
          slow: extra?.beta_slow ?? YARN_TURNS.slow,
        })
      : listed!;

  test("the engine's factors and scale", () => {
    const own = factors.map((divisor, pair) => theta ** ((-2 * pair) / headDim) / divisor);
    own.forEach((pace, pair) => expect(pace / paces[pair]!).toBeCloseTo(1, 12));
    expect(name === "yarn" ? yarnScale(factor!) : longRopeScale(context!, original)).toBeCloseTo(scale, 12);
  });

  test("the oracle's rotation", () => {
    const half = headDim / 2;
    fixture.positions.forEach((position, row) => {
      // (1, 0) becomes (cos, sin).
      const x = new Float32Array(headDim).fill(1, 0, half);
      rotate(x, headDim, position, theta, { pairs: "halves", factors, scale });
      rows[row]!.flat().forEach((value, at) => expect(x[at]).toBeCloseTo(value, 5));
    });
  });
});

test("the oracle leaves what doesn't turn, in either order of pairs", () => {
  const heads = (): Float32Array => Float32Array.from({ length: 16 }, (_, i) => i + 1);
  const alone = (values: number[], pairs: "neighbours" | "halves"): number[] => {
    const x = Float32Array.from(values);
    rotate(x, values.length, 5, 100, { pairs, factors: [2, 3] });
    return [...x];
  };
  for (const pairs of ["neighbours", "halves"] as const) {
    const x = heads();
    rotate(x, 8, 5, 100, { pairs, dims: 4, factors: [2, 3] });
    expect([...x]).toEqual([
      ...alone([1, 2, 3, 4], pairs),
      5,
      6,
      7,
      8,
      ...alone([9, 10, 11, 12], pairs),
      13,
      14,
      15,
      16,
    ]);
  }
});

test("a context that isn't longer is scaled by nothing", () => {
  expect([yarnScale(1), longRopeScale(64, 64)]).toEqual([1, 1]);
});
