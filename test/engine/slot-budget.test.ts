import { expect, test } from "vitest";
import { kvBudget, kvBytesPerToken, slotsWithin } from "../../engine/slot-budget.ts";

const GB = 1e9;
const SMOL = { layers: 30, kvHeads: 3, headDim: 64 };

test("a token of SmolLM2-135M takes 45 KiB", () => {
  expect(kvBytesPerToken(SMOL)).toBe(46_080);
});

test("half of what the weights leave is for keys and values; wasm has its heap, a GPU its own memory", () => {
  expect(kvBudget("native", 3 * GB, GB)).toBe(GB);
  expect(kvBudget("native", GB, 2 * GB)).toBe(0);
  expect(kvBudget("wasm", 64 * GB, 2 * GB)).toBe((2 ** 32 - 2 * GB) / 2);
  expect(kvBudget("wasm", 3 * GB, GB)).toBe(GB);
  expect(kvBudget("webgpu", 0, GB)).toBe(Infinity);
});

test("as many slots as fit, never more than wanted, never none", () => {
  const slot = 2_048 * kvBytesPerToken(SMOL);
  expect([0, slot, 2 * slot - 1, 2 * slot, 100 * slot, Infinity].map((bytes) => slotsWithin(bytes, slot, 8))).toEqual([
    1, 1, 1, 2, 8, 8,
  ]);
});
