/** The kernels against plain arithmetic, on rows of every length around their groups. */
import fc from "../support/fast-check.ts";
import { expect, test } from "vitest";
import { BUCKETS, scaleOf, Scores, weightAt } from "../../engine/scores.ts";

const rows = fc
  .array(fc.float({ min: -60, max: 60, noNaN: true }), { minLength: 2, maxLength: 140 })
  .filter((values) => new Set(values).size > 1)
  .map((values) => Float32Array.from(values));

function loaded(row: Float32Array): Scores {
  const scores = new Scores(row.length);
  scores.load(row);
  return scores;
}

test("highest and first are those of the row, bits leave what they say", () => {
  fc.assert(
    fc.property(rows, fc.infiniteStream(fc.boolean()), (row, stream) => {
      const scores = loaded(row);
      expect(scores.values).toEqual(row);
      expect(scores.highest).toBe(Math.max(...row));
      expect(scores.first(scores.highest)).toBe(row.indexOf(Math.max(...row)));
      const may = Array.from(row, () => stream.next().value === true);
      const bits = new Int32Array(Math.ceil(row.length / 32));
      may.forEach((is, token) => is && (bits[token >> 5]! |= 1 << (token & 31)));
      scores.mask(bits);
      expect([...scores.values]).toEqual(Array.from(row, (value, token) => (may[token] ? value : -Infinity)));
      // Bits for the first words only: no more tokens than those.
      scores.load(row);
      scores.mask(bits.subarray(0, 1));
      expect([...scores.values].slice(32).every((value) => value === -Infinity)).toBe(true);
    }),
  );
});

test("buckets hold each token once, in order of score, with their weights", () => {
  fc.assert(
    fc.property(rows, fc.double({ min: 0.05, max: 5, noNaN: true }), (row, temperature) => {
      const scores = loaded(row);
      const [highest, scale] = [scores.highest, scaleOf(temperature)];
      scores.rank(highest, scale);
      const buckets = Array.from({ length: BUCKETS }, (_, bucket) =>
        scores.counts[bucket] === 0 ? [] : [...scores.tokensOf(bucket, highest, scale)],
      );
      expect(buckets.map(({ length }) => length)).toEqual([...scores.counts.subarray(0, BUCKETS)]);
      const depths = Array.from(row, (value) => Math.fround(Math.fround(highest - value) * scale));
      expect(buckets.flat().toSorted((a, b) => a - b)).toEqual(
        [...depths.keys()].filter((token) => depths[token]! < BUCKETS - 0.5),
      );
      buckets.forEach((tokens, bucket) => {
        for (const token of tokens) expect(Math.abs(depths[token]! - bucket)).toBeLessThanOrEqual(0.5);
        const mass = tokens.reduce((sum, token) => sum + weightAt(depths[token]!), 0);
        expect(Math.abs(scores.masses[bucket]! - mass)).toBeLessThanOrEqual(1e-5 * mass);
      });
    }),
  );
});

test.each([
  ["NaN", [1, NaN, 2]],
  ["an infinity", [1, Infinity, 2]],
  ["a negative infinity", [1, -Infinity, 2]],
  ["all the same", [0, 0, 0]],
])("a row with %s is not usable, and leaves the next alone", (_, values) => {
  const scores = new Scores(3);
  expect(() => scores.load(Float32Array.from(values))).toThrow("no usable logits");
  scores.load(Float32Array.of(3, 4, 4));
  expect(scores.first(scores.highest)).toBe(1);
});
