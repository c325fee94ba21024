/** The GPU's chooser against its twin on the host, for vocabularies from the smallest to a real one's, on SwiftShader. */
import { expect, test } from "vitest";
import { browserKitProblem } from "../support/browser-kit.ts";
import { compareChoosers, expectTwins } from "../support/gpu-chooser.ts";

const VOCABULARIES = [2, 61, 509, 4_099, 49_152];

const problem = browserKitProblem();
test.skipIf(problem)(
  `chooses as the host does, whatever is asked of rows of 2 to 49,152 scores${problem ? ` (skipped: ${problem})` : ""}`,
  { timeout: 600_000 },
  async () => {
    const run = await compareChoosers(80, VOCABULARIES);
    expect(run.rows).toBeGreaterThan(1_500);
    expectTwins(run, VOCABULARIES.length);
  },
);
