/** The GPU's chooser against its twin on the host, on SwiftShader; more of the same in test/long. */
import { expect, test } from "vitest";
import { browserKitProblem } from "../../support/browser-kit.ts";
import { compareChoosers, expectTwins } from "../../support/gpu-chooser.ts";

const problem = browserKitProblem();
test.skipIf(problem)(
  `chooses as the host does, for 1 to 8 rows at once${problem ? ` (skipped: ${problem})` : ""}`,
  { timeout: 300_000 },
  async () => {
    const run = await compareChoosers(24, [1003]);
    expect(run.rows).toBeGreaterThan(80);
    expectTwins(run, 1);
  },
);
