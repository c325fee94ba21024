/** Runs `gpu-chooser-main.ts` in a process of its own, with a software GPU in its environment, and says what it must have found. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect } from "vitest";
import { swiftshaderEnv } from "./browser-kit.ts";
import type { ChooserRun } from "./gpu-chooser-main.ts";

const MAIN = fileURLToPath(new URL("gpu-chooser-main.ts", import.meta.url));

export async function compareChoosers(batches: number, vocabularies: readonly number[]): Promise<ChooserRun> {
  const args = [batches, ...vocabularies].map(String);
  const { stdout } = await promisify(execFile)(process.execPath, [MAIN, ...args], { env: await swiftshaderEnv() });
  return JSON.parse(stdout) as ChooserRun;
}

export function expectTwins(run: ChooserRun, vocabularies: number): void {
  expect(run.wrong).toEqual([]);
  expect(run.near).toBeLessThan(run.rows / 50);
  expect(run.worstLogprob).toBeLessThan(1e-5);
  const unusable = "Error: the model gave no usable logits (NaN, infinite or all the same)";
  const each = [
    unusable,
    unusable,
    unusable,
    unusable,
    "GrammarError: the model has no token that could go on with the answer",
  ];
  expect(run.refusals).toEqual(Array.from({ length: vocabularies }, () => each).flat());
}
