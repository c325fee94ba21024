/**
 * The real model, many at once against one by one: with f32 weights the same tokens, with the weights that ship the same distributions. What
 * differs is printed, for docs/ENGINE-SCHEDULING.md.
 */
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { EngineLoop } from "../../engine/loop.ts";
import { openPrepared, prepareCached } from "../../engine/node/prepared-cache.ts";
import { startNodeThread } from "../../engine/node/team-threads.ts";
import type { Target } from "../../engine/onnx/target.ts";
import type { PreparedModel } from "../../engine/prepare.ts";
import type { RunnerOptions } from "../../engine/providers/kv.ts";
import { createNativeRunner } from "../../engine/providers/native.ts";
import { createWasmRunner } from "../../engine/providers/wasm.ts";
import { GREEDY } from "../../engine/sampling.ts";
import type { GenerationRequest, Output } from "../../engine/sequence.ts";
import { Tokenizer } from "../../engine/tokenizer/tokenizer.ts";
import type { Runner } from "../../engine/types.ts";
import { defaultModelPath } from "../support/default-model.ts";

process.env["ORT_DISABLE_TELEMETRY"] = "1";

/** Minutes of a busy machine, not of the test. */
const TIMEOUT_MS = 15 * 60_000;
/** Below this margin between the two best tokens, two exact computations may part. In nats. */
const MARGIN = 0.02;
const TOKENS = 20;
const OPTIONS = { threads: 2, slots: 4, slotLength: 160 };

const { cases } = JSON.parse(readFileSync(new URL("../fixtures/smollm2-greedy.json", import.meta.url), "utf8")) as {
  cases: readonly { readonly promptTokens: readonly number[]; readonly greedy: readonly number[] }[];
};
const SEEDED = { ...GREEDY, temperature: 0.8, topP: 0.95, seed: 4 };
/** Greedy ones, a seeded one, and a second turn that shares its beginning with the first; more than slots. */
const REQUESTS: readonly GenerationRequest[] = [
  ...cases.map(({ promptTokens }) => ({ promptTokens, sampling: GREEDY })),
  { promptTokens: cases[0]!.promptTokens, sampling: SEEDED },
  { promptTokens: [...cases[0]!.promptTokens, ...cases[0]!.greedy.slice(0, 9), 198], sampling: GREEDY },
].map((request) => ({ ...request, maxTokens: TOKENS, stop: [], logprobs: 2 }));

describe("SmolLM2-135M-Instruct", () => {
  let cache: string;
  beforeAll(async () => void (cache = await mkdtemp(join(tmpdir(), "skein-batching-"))));
  afterAll(() => rm(cache, { recursive: true, force: true }));

  async function withRunner<T>(
    target: Target,
    load: (prepared: PreparedModel, options: RunnerOptions) => Promise<Runner>,
    use: (runner: Runner, text: Tokenizer) => Promise<T>,
  ): Promise<T> {
    const directory = await prepareCached({ file: await defaultModelPath(), target, cache, now: Date.now() });
    const prepared = await openPrepared(directory);
    const runner = await load(prepared, OPTIONS);
    try {
      return await use(runner, new Tokenizer(prepared.tokenizer));
    } finally {
      await runner.release();
    }
  }

  /** What each request got: all at once, or each after the one before it, with callers of their own so that nothing is shared. */
  async function ask(runner: Runner, text: Tokenizer, how: "together" | "alone"): Promise<Output[][]> {
    const loop = new EngineLoop({
      runner,
      text,
      yieldTurn: () => new Promise((resolve) => setImmediate(resolve)),
      now: () => performance.now(),
      budget: { prefillChunk: 32, prefillBesideDecode: 32 },
    });
    const said = REQUESTS.map((): Output[] => []);
    for (const [id, request] of REQUESTS.entries()) {
      loop.submit(id, how === "alone" ? { ...request, caller: String(id) } : request, {
        onOutput: (output) => void (said[id]!.push(output), loop.acknowledge(id, output.tokens.length)),
        onError: (error) => {
          throw error;
        },
      });
      if (how === "alone") await loop.idle();
    }
    await loop.idle();
    return said;
  }

  test(
    "wasm as it ships: every token, and what the model thought of it, is what it is alone, to the last bit",
    { timeout: TIMEOUT_MS },
    async () => {
      const load = (prepared: PreparedModel, options: RunnerOptions): Promise<Runner> =>
        createWasmRunner(prepared, { ...options, startThread: startNodeThread });
      const { together, alone } = await withRunner("wasm", load, async (runner, text) => ({
        together: await ask(runner, text, "together"),
        alone: await ask(runner, text, "alone"),
      }));
      expect(together.flat()).toHaveLength(REQUESTS.length * TOKENS);
      const said = (outputs: readonly Output[][]) =>
        outputs.map((row) => row.map(({ tokens, logprobs }) => ({ tokens, logprobs })));
      expect(said(together)).toEqual(said(alone));
    },
  );

  test(
    "native with f32 weights: the tokens of each are those it gets alone, but for toss-ups",
    { timeout: TIMEOUT_MS },
    async () => {
      const { together, alone } = await withRunner("f32", createNativeRunner, async (runner, text) => ({
        together: await ask(runner, text, "together"),
        alone: await ask(runner, text, "alone"),
      }));
      let equal = 0;
      for (const [id, outputs] of alone.entries()) {
        for (const [position, output] of outputs.entries()) {
          const other = together[id]![position];
          if (other?.tokens[0] === output.tokens[0]) {
            equal++;
            continue;
          }
          const [best, second] = output.logprobs![0]!.top;
          expect(REQUESTS[id]!.sampling, `request ${id}, token ${position}`).toBe(GREEDY);
          expect(best!.logprob - second!.logprob, `request ${id}, token ${position}`).toBeLessThan(MARGIN);
          break;
        }
      }
      console.log(`native, f32: ${equal} of ${alone.flat().length} tokens equal`);
      expect(equal).toBeGreaterThan(REQUESTS.length * TOKENS * 0.7);
    },
  );

  test(
    "native as it ships: a row's distribution hardly depends on its neighbours",
    { timeout: TIMEOUT_MS },
    async () => {
      const rows = cases.slice(0, OPTIONS.slots);
      const { mean, most, agree, positions } = await withRunner("native", createNativeRunner, async (runner) => {
        const { vocabulary } = runner.config;
        const forced = async (slots: readonly number[]): Promise<Float32Array[][]> => {
          const logits: Float32Array[][] = slots.map(() => []);
          for (const [slot, row] of slots.entries())
            await runner.prefill(slot, Int32Array.from(rows[row]!.promptTokens), 0, false);
          for (let step = 0; step < TOKENS; step++) {
            const tokens = Int32Array.from(slots, (row) => rows[row]!.greedy[step]!);
            const batch = await runner.decode(
              tokens,
              Int32Array.from(slots, (row) => rows[row]!.promptTokens.length + step),
            );
            slots.forEach((_, slot) => logits[slot]!.push(batch.slice(slot * vocabulary, (slot + 1) * vocabulary)));
          }
          return logits;
        };
        const together = (await forced(rows.map((_, row) => row))).flat();
        const alone: Float32Array[] = [];
        for (const row of rows.keys()) alone.push(...(await forced([row])).flat());
        const divergences = alone.map((logits, i) => divergence(logits, together[i]!));
        return {
          positions: divergences.length,
          mean: divergences.reduce((sum, value) => sum + value, 0) / divergences.length,
          most: Math.max(...divergences),
          agree: alone.filter((logits, i) => argmax(logits) === argmax(together[i]!)).length,
        };
      });
      console.log(
        `native, as it ships, rows of ${rows.length} against one: mean divergence ${mean.toExponential(2)}, largest ${most.toExponential(2)} nats, best token equal at ${agree} of ${positions}`,
      );
      expect(positions).toBe(rows.length * TOKENS);
      expect(most).toBeLessThan(0.01);
    },
  );
});

const argmax = (logits: Float32Array): number =>
  logits.reduce((best, value, i) => (value > logits[best]! ? i : best), 0);

/** Kullback-Leibler divergence of q from p over the full vocabulary, in nats. */
function divergence(p: Float32Array, q: Float32Array): number {
  const total = (logits: Float32Array): number => {
    const most = logits.reduce((a, b) => Math.max(a, b), -Infinity);
    return most + Math.log(logits.reduce((sum, value) => sum + Math.exp(value - most), 0));
  };
  const [pTotal, qTotal] = [total(p), total(q)];
  return p.reduce((sum, value, i) => sum + Math.exp(value - pTotal) * (value - pTotal - (q[i]! - qTotal)), 0);
}
