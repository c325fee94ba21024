import fc from "../../support/fast-check.ts";
import { expect, test } from "vitest";
import { numberBetween, wholeBetween } from "../../../engine/grammar/numbers.ts";

/** The rule as a regular expression: quotes are all that EBNF has beyond one here. */
const patternOf = (rule: string): RegExp => new RegExp(`^${rule.replaceAll('"."', "\\.").replaceAll(/["\s]/g, "")}$`);

test("whole numbers between bounds, all of them and no others", () => {
  fc.assert(
    fc.property(fc.integer({ min: -1_500, max: 1_500 }), fc.nat(1_200), (min, more) => {
      const max = min + more;
      const pattern = patternOf(wholeBetween({ min: min - 0.5, max: max + 0.5 })!);
      for (let value = -2_000; value <= 3_000; value++)
        expect(pattern.test(String(value)), `${value} of ${min} to ${max}`).toBe(value >= min && value <= max);
    }),
    { numRuns: 60 },
  );
});

test("numbers with fractions: none outside, each whole one and what is between two of them", () => {
  const pattern = patternOf(numberBetween({ min: -1, max: 2 }, { min: true, max: false })!);
  const said = ["-1", "-1.5", "-0.5", "-0.25", "0", "0.5", "1.999999999", "2", "2.5", "0.50", "1e0"];
  expect(said.filter((text) => pattern.test(text))).toEqual(["-0.5", "-0.25", "0", "0.5", "1.999999999", "2"]);
  expect(patternOf(wholeBetween({ min: 7, max: Infinity })!).test("123456789012345")).toBe(true);
  expect(wholeBetween({ min: 0.2, max: 0.8 })).toBeUndefined();
  expect(numberBetween({ min: 3, max: 2 }, { min: false, max: false })).toBeUndefined();
});
