import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { browserKitProblem, swiftshaderEnv } from "../support/browser-kit.ts";
import type { GridRun } from "../support/webgpu-grid-main.ts";

const MAIN = fileURLToPath(new URL("../support/webgpu-grid-main.ts", import.meta.url));

const problem = browserKitProblem();
describe.skipIf(problem)(`webgpu on SwiftShader${problem ? ` (skipped: ${problem})` : ""}`, () => {
  test(
    "logits are the oracle's for every chunk up to 128 with and without a past, after every token of one, and for ragged batches up to 8; a lost device is told",
    {
      timeout: 500_000,
    },
    async () => {
      const { stdout } = await promisify(execFile)(process.execPath, [MAIN], {
        env: await swiftshaderEnv(),
        timeout: 480_000,
      });
      const { errors, lost } = JSON.parse(stdout) as GridRun;
      expect(Object.keys(errors)).toHaveLength(128 * 2 + 2 + 8);
      // The oracle's logits have a standard deviation of 4; wrong kernels are off by 0.1 and more.
      for (const [what, error] of Object.entries(errors)) expect(error, what).toBeLessThan(1e-4);
      expect(lost).toMatch(/^the GPU device was lost/);
    },
  );
});
