import fc from "../support/fast-check.ts";
import { expect, test } from "vitest";
import { philox4x32, prf } from "../../engine/prf.ts";

// Known answers of the Random123 distribution (`kat_vectors`, philox4x32 10).
test("Philox4x32-10 gives the published answers", () => {
  expect(philox4x32([0, 0, 0, 0], [0, 0])).toEqual([0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
  const ones = 0xffffffff;
  expect(philox4x32([ones, ones, ones, ones], [ones, ones])).toEqual([0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
  expect(philox4x32([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0])).toEqual([
    0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1,
  ]);
});

test("prf is in [0, 1) and depends on seed and position alone", () => {
  const whole = fc.maxSafeNat();
  fc.assert(
    fc.property(whole, whole, (seed, position) => {
      const u = prf(seed, position);
      expect(u).toBeGreaterThanOrEqual(0);
      expect(u).toBeLessThan(1);
      expect(prf(seed, position)).toBe(u);
      expect(prf(seed, position === 0 ? 1 : position - 1)).not.toBe(u);
      expect(prf(seed === 0 ? 1 : seed - 1, position)).not.toBe(u);
    }),
  );
});

test("prf is spread evenly", () => {
  const buckets = new Array<number>(16).fill(0);
  for (let i = 0; i < 16_000; i++) buckets[Math.floor(prf(7, i) * 16)]!++;
  for (const count of buckets) expect(Math.abs(count - 1000)).toBeLessThan(150);
});
