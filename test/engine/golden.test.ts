/**
 * The real model. Golden tokens are llama.cpp's on the same weights stored as F32; the cases run as one ragged batch, teacher-forced,
 * so that one different token doesn't change what follows.
 */
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openPrepared, prepareCached } from "../../engine/node/prepared-cache.ts";
import { startNodeThread } from "../../engine/node/team-threads.ts";
import type { Target } from "../../engine/onnx/target.ts";
import type { PreparedModel } from "../../engine/prepare.ts";
import type { RunnerOptions } from "../../engine/providers/kv.ts";
import { createNativeRunner } from "../../engine/providers/native.ts";
import { createWasmRunner } from "../../engine/providers/wasm.ts";
import type { Runner } from "../../engine/types.ts";
import { defaultModelPath } from "../support/default-model.ts";

// The runtime reads the process's environment when it loads; test processes are ours to set.
process.env["ORT_DISABLE_TELEMETRY"] = "1";

/** Minutes of a busy machine, not of the test: it takes about one. */
const TIMEOUT_MS = 10 * 60_000;
/** Below this margin between the two best tokens, two exact implementations may part. In nats. */
const MARGIN = 0.02;

interface Case {
  readonly promptTokens: readonly number[];
  readonly greedy: readonly number[];
  readonly marginNats: readonly number[];
}
const { cases } = JSON.parse(readFileSync(new URL("../fixtures/smollm2-greedy.json", import.meta.url), "utf8")) as {
  cases: readonly Case[];
};
const POSITIONS = cases.reduce((sum, { greedy }) => sum + greedy.length, 0);
const OPTIONS = { threads: 2, slots: cases.length, slotLength: 128 };

/** Logits at every generated position of every case, in the order of cases and positions. */
async function teacherForced(runner: Runner): Promise<Float32Array[][]> {
  const { vocabulary } = runner.config;
  const logits: Float32Array[][] = [];
  for (const [slot, { promptTokens }] of cases.entries()) {
    logits.push([(await runner.prefill(slot, Int32Array.from(promptTokens), 0, true))!.slice()]);
  }
  const steps = Math.max(...cases.map(({ greedy }) => greedy.length)) - 1;
  for (let step = 0; step < steps; step++) {
    // A case that is over repeats its last position: rows stay dense, and its results are not looked at.
    const at = cases.map(({ greedy }) => Math.min(step, greedy.length - 1));
    const tokens = Int32Array.from(cases, ({ greedy }, row) => greedy[at[row]!]!);
    const positions = Int32Array.from(cases, ({ promptTokens }, row) => promptTokens.length + at[row]!);
    const batch = await runner.decode(tokens, positions);
    cases.forEach(({ greedy }, row) => {
      if (step < greedy.length - 1) logits[row]!.push(batch.slice(row * vocabulary, (row + 1) * vocabulary));
    });
  }
  return logits;
}

const argmax = (logits: Float32Array): number =>
  logits.reduce((best, value, i) => (value > logits[best]! ? i : best), 0);

function logSumExp(logits: Float32Array): number {
  const most = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  return most + Math.log(logits.reduce((sum, value) => sum + Math.exp(value - most), 0));
}

/** Kullback-Leibler divergence of q from p over the full vocabulary, in nats. */
function divergence(p: Float32Array, q: Float32Array): number {
  const pTotal = logSumExp(p);
  const qTotal = logSumExp(q);
  return p.reduce((sum, value, i) => sum + Math.exp(value - pTotal) * (value - pTotal - (q[i]! - qTotal)), 0);
}

describe("SmolLM2-135M-Instruct", () => {
  let cache: string;
  let exact: Float32Array[][];

  async function run(target: Target, load: typeof createNativeRunner): Promise<Float32Array[][]> {
    const directory = await prepareCached({ file: await defaultModelPath(), target, cache, now: Date.now() });
    const runner = await load(await openPrepared(directory), OPTIONS);
    try {
      return await teacherForced(runner);
    } finally {
      await runner.release();
      await rm(directory, { recursive: true });
    }
  }

  beforeAll(async () => {
    cache = await mkdtemp(join(tmpdir(), "skein-golden-"));
    exact = await run("f32", createNativeRunner);
  }, TIMEOUT_MS);
  afterAll(() => rm(cache, { recursive: true, force: true }));

  test("f32: the best token is the golden one at every position that isn't a toss-up", () => {
    let compared = 0;
    cases.forEach(({ greedy, marginNats }, row) =>
      greedy.forEach((token, position) => {
        if (marginNats[position]! < MARGIN) return;
        compared++;
        expect(argmax(exact[row]![position]!), `case ${row}, position ${position}`).toBe(token);
      }),
    );
    expect(POSITIONS).toBe(230);
    expect(compared).toBe(227);
  });

  test.each([
    ["native", createNativeRunner],
    [
      "wasm",
      (prepared: PreparedModel, options: RunnerOptions) =>
        createWasmRunner(prepared, { ...options, startThread: startNodeThread }),
    ],
  ] as const)(
    "%s: as it ships, its distributions are those of f32",
    async (target, load) => {
      const shipped = await run(target, load);
      const divergences = exact.flatMap((positions, row) =>
        positions.map((logits, position) => divergence(logits, shipped[row]![position]!)),
      );
      expect(divergences).toHaveLength(POSITIONS);
      const mean = divergences.reduce((sum, value) => sum + value, 0) / POSITIONS;
      const most = Math.max(...divergences);
      console.log(
        `${target}: mean divergence ${mean.toExponential(2)}, largest ${most.toExponential(2)} nats over ${POSITIONS} positions`,
      );
      expect(mean).toBeLessThanOrEqual(0.01);
      expect(most).toBeLessThanOrEqual(0.05);
      if (target === "wasm") expect(most).toBeLessThan(1e-5);
    },
    TIMEOUT_MS,
  );
});
