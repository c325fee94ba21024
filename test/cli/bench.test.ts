import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { runCommandLine } from "../../cli/command-line.ts";
import { benchText } from "../../cli/verbs/bench.ts";
import type { Measured } from "../../worker/node/bench-main.ts";
import { makeTinyGguf } from "../support/tiny-gguf.ts";
import { fakeShell } from "./shell.ts";

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
  secondTurnCached: 0.949,
  crowdRunningMost: 8,
  crowdWaitingMost: 20,
  crowdKvUsageMost: 0.61,
};
const MEASURED = { figures: FIGURES, notes: [], rssMb: 400, rssOver: 0.12, coldConversionMs: 1_900, startMs: 940 };

test("a column for each provider that was measured, a sentence for each that wasn't", () => {
  const text = benchText([
    { provider: "webgpu", trouble: "there is no WebGPU adapter" },
    { ...MEASURED, provider: "native" },
    { ...MEASURED, provider: "wasm", figures: { ...FIGURES, tokensPerSecond: 25 }, rssOver: null },
  ]);
  const lines = text.split("\n");
  expect(lines[0]).toMatch(/^\s+native\s+wasm$/);
  expect(lines.find((line) => line.startsWith("one chat"))).toMatch(/50\.3\s+25\.0$/);
  expect(lines.find((line) => line.startsWith("prompts"))).toMatch(/400\s+400$/);
  expect(lines.find((line) => line.includes("two steps"))).toMatch(/260\s+260$/);
  const rowOf = (title: string) =>
    lines
      .find((line) => line.trim().startsWith(title))
      ?.slice(-20)
      .trim();
  expect(rowOf("of its prompt in the cache")).toMatch(/95 %\s+95 %/);
  expect(rowOf("running/waiting at most")).toMatch(/8\/20\s+8\/20/);
  expect(rowOf("keys and values in use")).toMatch(/61 %\s+61 %/);
  expect(rowOf("conversion at the first use")).toMatch(/1900\s+1900/);
  expect(rowOf("start to first token")).toMatch(/940\s+940/);
  expect(rowOf("over weights, keys and values")).toMatch(/12 %\s+-/);
  expect(text).toContain("webgpu: there is no WebGPU adapter\n");
  expect(benchText([{ provider: "wasm", trouble: "no model" }])).toBe("wasm: no model\n");
});

test("the verb measures a model with a process of its own, and leaves nothing behind", async () => {
  const folder = mkdtempSync(join(tmpdir(), "skein-cli-bench-"));
  try {
    const file = join(folder, "tiny.gguf");
    writeFileSync(file, makeTinyGguf().bytes);
    const shell = fakeShell({ cwd: folder, dataDirectory: folder });
    const line = ["bench", file, "--device", "native", "--threads", "1", "--short", "--json"];
    expect(await runCommandLine(line, shell), shell.stderr).toBe(0);
    const [measured] = JSON.parse(shell.stdout) as [Measured];
    expect(measured).toMatchObject({ provider: "native", figures: { crowdFailed: 0, secondTurnPrefilled: 17 } });
    const { figures, rssMb, rssOver, coldConversionMs, startMs } = measured;
    for (const [name, value] of Object.entries({ ...figures, rssMb, rssOver, coldConversionMs, startMs }))
      expect(value, name).toSatisfy(Number.isFinite);
    expect(readdirSync(join(folder, "prepared")).filter((name) => name.includes("bench"))).toEqual([]);
    expect(benchText([measured]).split("\n")[0]).toMatch(/native$/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
