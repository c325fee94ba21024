/** The whole mesh on one virtual clock: seeds that must hold, the same trace for the same seed, and seeds that once found something. */
import { describe, expect, test } from "vitest";
import { FAULTS, optionsOf } from "./options.ts";
import { runSeed } from "./world.ts";

/** In `npm test`; CI runs more by `npm run sim`. */
const SEEDS = 60;
const GROUP = 10;
/** It only catches what hangs, ms. */
const PATIENCE_MS = 600_000;

async function holds(seeds: readonly number[]): Promise<void> {
  for (const seed of seeds) {
    const result = await runSeed(seed);
    expect
      .soft(
        result.violations,
        `seed ${seed} with ${JSON.stringify(result.options)}; node test/sim/run-main.ts --seeds 1 --from ${seed} --trace 200`,
      )
      .toEqual([]);
  }
}

describe("whatever goes wrong, what was promised holds after every step", () => {
  const groups = Array.from({ length: SEEDS / GROUP }, (_, group) =>
    Array.from({ length: GROUP }, (_, i) => 1_000 + group * GROUP + i),
  );
  test.for(groups.map((seeds) => [seeds[0], seeds] as const))(
    "ten seeds from %i",
    { timeout: PATIENCE_MS },
    async ([, seeds]) => holds(seeds),
  );
});

describe("seeds that have found something", () => {
  test.for([
    ["load that came with an acceptance woke nobody", [2]],
    ["a lost welcome was never noticed", [52]],
    ["an older coordinator's writes made the newer one's conflict", [154, 246]],
    ["a handler waited for a body whose request was called off", [210]],
    ["links to an ingress that drains were closed under its requests", [453, 522]],
  ] as const)("%s", { timeout: PATIENCE_MS }, async ([, seeds]) => holds(seeds));
});

test("the same seed is the same run, step by step", async () => {
  for (const seed of [3, 7, 11]) {
    const [one, two] = [await runSeed(seed), await runSeed(seed)];
    expect(two.trace).toBe(one.trace);
    expect(two.steps).toBe(one.steps);
    expect(one.steps).toBeGreaterThan(1_000);
  }
  expect((await runSeed(3)).trace).not.toBe((await runSeed(4)).trace);
});

test("every kind of fault is switched on by some seed, alone and together with others", () => {
  const seeds = Array.from({ length: SEEDS }, (_, i) => optionsOf(1_000 + i).faults);
  for (const fault of FAULTS) {
    expect(
      seeds.some((faults) => faults.includes(fault) && faults.length > 1),
      fault,
    ).toBe(true);
    expect(
      Array.from({ length: 300 }, (_, seed) => optionsOf(seed).faults).some(
        (faults) => faults.length === 1 && faults[0] === fault,
      ),
      fault,
    ).toBe(true);
  }
});
