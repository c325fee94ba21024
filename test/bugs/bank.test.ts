/** Each bug of the bank is caught: by the seed that is known to catch it, or by one of those that follow. The same seeds hold without it. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { runSeed } from "../sim/world.ts";
import { BANK, BANK_SEEDS_MAX } from "./bank.ts";
import { mutated, sourceOf } from "./plant.ts";

const run = promisify(execFile);
const PROGRAM = fileURLToPath(new URL("./bug-main.ts", import.meta.url));
/** Each runs seeds in a process of its own, some a minute on busy cores. It only catches what hangs. */
const LIMIT_MS = 600_000;

test("the bank is large enough and up to date with the sources", () => {
  expect(BANK.length).toBeGreaterThanOrEqual(16);
  expect(new Set(BANK.map((bug) => bug.name)).size).toBe(BANK.length);
  for (const bug of BANK) {
    expect(mutated(sourceOf(bug), bug), bug.name).not.toBe(sourceOf(bug));
    expect(bug.seed, bug.name).toBeGreaterThan(0);
    expect(bug.seed, bug.name).toBeLessThanOrEqual(BANK_SEEDS_MAX);
  }
});

test("a text that is gone or ambiguous is an error", () => {
  const bug = BANK[0]!;
  expect(() => mutated("const nothing = 1;", bug)).toThrow("occurs 0 times");
  expect(() => mutated(`${bug.text}\n${bug.text}`, bug)).toThrow("occurs 2 times");
});

test(
  "the seeds of the bank hold without its bugs",
  async () => {
    for (const seed of new Set(BANK.map((bug) => bug.seed)))
      expect((await runSeed(seed)).violations, `seed ${seed}`).toEqual([]);
  },
  LIMIT_MS,
);

describe.concurrent("each bug is caught", { concurrent: true }, () => {
  test.for(BANK.map((bug) => [bug.name, bug] as const))(
    "%s",
    { timeout: LIMIT_MS },
    async ([name, bug], { expect: expects }) => {
      const { stdout } = await run(process.execPath, [PROGRAM, name, String(bug.seed)], { timeout: LIMIT_MS });
      const { caught } = JSON.parse(stdout.trim().split("\n").at(-1)!) as {
        caught: { seed: number; violation: string } | null;
      };
      expects(caught, bug.breaks).not.toBeNull();
    },
  );
});
