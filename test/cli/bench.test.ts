import { expect, test } from "vitest";
import { benchText } from "../../cli/verbs/bench.ts";

const FIGURES = {
  tokensPerSecond: 50.25,
  tokensPerSecondAt8: 130,
  prefill256Ms: 640,
  coldTurnMs: 800,
  secondTurnMs: 70,
  secondTurnPrefilled: 17,
  secondTurnNew: 17,
  crowdFailed: 0,
  crowdGapP50Ms: 60,
  crowdGapP99Ms: 200,
  crowdGapMostMs: 250,
  crowdStepMs: 50,
  crowdChunkMs: 160,
  crowdTokensPerSecond: 90,
  crowdFirstTokenP99Ms: 5_000,
};

test("a column for each provider that was measured, a sentence for each that wasn't", () => {
  const text = benchText([
    { provider: "webgpu", trouble: "there is no WebGPU adapter" },
    { provider: "native", figures: FIGURES, notes: [], rssMb: 400 },
    { provider: "wasm", figures: { ...FIGURES, tokensPerSecond: 25 }, notes: [], rssMb: 1_800 },
  ]);
  const lines = text.split("\n");
  expect(lines[0]).toMatch(/^\s+native\s+wasm$/);
  expect(lines.find((line) => line.startsWith("one chat"))).toMatch(/50\.3\s+25\.0$/);
  expect(lines.find((line) => line.startsWith("prompts"))).toMatch(/400\s+400$/);
  expect(lines.find((line) => line.includes("two steps"))).toMatch(/260\s+260$/);
  expect(text).toContain("webgpu: there is no WebGPU adapter\n");
  expect(benchText([{ provider: "wasm", trouble: "no model" }])).toBe("wasm: no model\n");
});
