/** What the model thinks of a prompt's own tokens, and what that asks of cache and bounds. */
import { expect, test } from "vitest";
import { PROMPT_SCORES_MAX } from "../../engine/limits.ts";
import { EngineLoop, type EngineLoopOptions } from "../../engine/loop.ts";
import { createReferenceRunner } from "../../engine/reference/decoder.ts";
import { EngineFullError } from "../../engine/refusals.ts";
import { GREEDY } from "../../engine/sampling.ts";
import type { GenerationRequest, Output, Usage } from "../../engine/sequence.ts";
import { Tokenizer } from "../../engine/tokenizer/tokenizer.ts";
import type { Runner } from "../../engine/types.ts";
import { createLedgerRunner } from "../support/ledger-runner.ts";
import { makeTinyGguf } from "../support/tiny-gguf.ts";

const { config, weights, tokenizerMetadata } = makeTinyGguf();
const text = Tokenizer.fromGguf(tokenizerMetadata);
const PROMPT = Array.from({ length: 75 }, (_, i) => (17 * i + 3) % 509);

class Bench {
  readonly loop: EngineLoop;
  readonly outputs = new Map<number, Output[]>();
  readonly usages = new Map<number, Usage>();

  constructor(runner: Runner, options: Partial<EngineLoopOptions> = {}) {
    this.loop = new EngineLoop({ runner, text, yieldTurn: () => Promise.resolve(), now: () => 0, ...options });
  }

  submit(id: number, part: Partial<GenerationRequest>): void {
    const outputs: Output[] = [];
    this.outputs.set(id, outputs);
    this.loop.submit(
      id,
      { promptTokens: PROMPT, sampling: GREEDY, maxTokens: 2, stop: [], ...part },
      {
        onOutput: (output, usage) => {
          outputs.push(output);
          this.usages.set(id, usage);
        },
        onError: (error) => {
          throw error;
        },
      },
    );
  }
}

test("each token has the oracle's logprob after those before it, its place, and the best ones there; the answer is the same", async () => {
  const oracle = createReferenceRunner(config, weights, { slots: 1, slotLength: 80 });
  const bench = new Bench(createReferenceRunner(config, weights, { slots: 2, slotLength: 80 }));
  bench.submit(1, { promptLogprobs: 3 });
  bench.submit(2, {});
  await bench.loop.idle();
  const [{ promptLogprobs }, second] = bench.outputs.get(1) as [Output, Output];
  expect(promptLogprobs).toHaveLength(PROMPT.length - 1);
  expect(second).not.toHaveProperty("promptLogprobs");
  for (const [at, token] of PROMPT.slice(0, -1).entries()) {
    const logits = await oracle.decode(Int32Array.of(token), Int32Array.of(at));
    const total = Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit), 0));
    const best = [...logits.keys()].toSorted((a, b) => logits[b]! - logits[a]!);
    const next = PROMPT[at + 1]!;
    const score = promptLogprobs![at]!;
    expect(score).toMatchObject({ token: next, rank: 1 + logits.filter((logit) => logit > logits[next]!).length });
    expect(score.logprob).toBeCloseTo(logits[next]! - total, 4);
    expect(score.top.map((entry) => entry.token)).toEqual(best.slice(0, 3));
  }
  const tokens = (id: number): number[] => bench.outputs.get(id)!.flatMap((output) => output.tokens);
  expect(tokens(1)).toEqual(tokens(2));
});

test("what is cached is computed anew where its scores are wanted, and serves others as ever", async () => {
  const runner = createLedgerRunner(config, { slots: 2, slotLength: 80 });
  const bench = new Bench(runner);
  const run = async (id: number, part: Partial<GenerationRequest>): Promise<number> => {
    runner.prefilled = 0;
    bench.submit(id, part);
    await bench.loop.idle();
    return runner.prefilled;
  };
  expect(await run(1, {})).toBe(75);
  expect(await run(2, { promptLogprobs: 0 })).toBe(75);
  expect(bench.usages.get(2)).toMatchObject({ cachedTokens: 0 });
  expect(await run(3, {})).toBe(0);
  expect(bench.usages.get(3)).toMatchObject({ cachedTokens: 74 });
  expect(await run(4, { promptTokens: [5], promptLogprobs: 2 })).toBe(0);
  expect(bench.outputs.get(4)![0]).toMatchObject({ promptLogprobs: [] });
});

test("scored prompts go in short runs, and one that is called off between two of them computes no more", async () => {
  const runner = createLedgerRunner(config, { slots: 1, slotLength: 80 });
  const runs: number[] = [];
  const { prefillScored } = runner;
  runner.prefillScored = (slot, tokens, start) => {
    runs.push(tokens.length);
    return prefillScored.call(runner, slot, tokens, start);
  };
  const bench = new Bench(runner);
  bench.submit(1, { promptLogprobs: 0 });
  await bench.loop.idle();
  expect(runs).toEqual([32, 32, 11]);
  const left = new Bench(runner, { onStep: () => void (runs.length > 0 && left.loop.cancel(1)) });
  runs.length = 0;
  left.submit(1, { promptLogprobs: 0 });
  await left.loop.idle();
  expect([runs, left.outputs.get(1)]).toEqual([[32], []]);
});

test("between two steps of a running stream comes one such run, where two of another prompt would", async () => {
  const runsBeside = async (part: Partial<GenerationRequest>): Promise<string> => {
    const runner = createLedgerRunner(config, { slots: 2, slotLength: 80 });
    let runs = "";
    const { prefill, prefillScored, decode } = runner;
    Object.assign(runner, {
      prefill: (...call: Parameters<typeof prefill>) => ((runs += "p"), prefill.apply(runner, call)),
      prefillScored: (...call: Parameters<typeof prefillScored>) => ((runs += "s"), prefillScored.apply(runner, call)),
      decode: (...call: Parameters<typeof decode>) => ((runs += "."), decode.apply(runner, call)),
    });
    const budget = { prefillChunk: 32, prefillBesideDecode: 64, prefillRunCost: 1 };
    const bench: Bench = new Bench(runner, {
      budget,
      onStep: () =>
        void (
          runs === "p." &&
          bench.loop.size === 1 &&
          bench.submit(2, { promptTokens: PROMPT.toReversed(), ...part })
        ),
    });
    bench.submit(1, { maxTokens: 8, promptTokens: [1, 2, 3] });
    await bench.loop.idle();
    return runs;
  };
  expect(await runsBeside({})).toMatch(/^p\.pp\.p/);
  expect(await runsBeside({ promptLogprobs: 0 })).toMatch(/^p\.s\.s\.s/);
});

test("too many are refused by their number, and together with others' as by a full engine", () => {
  const long = new Array<number>(PROMPT_SCORES_MAX / 8).fill(5);
  const bench = new Bench(createLedgerRunner(config, { slots: 1, slotLength: 2 * long.length }));
  const submit = (id: number, promptLogprobs: number) => () => bench.submit(id, { promptTokens: long, promptLogprobs });
  expect(submit(0, 8)).toThrow("4096 tokens with 8 alternatives each have 36864 scores, and at most 32768 are given");
  expect(submit(0, 21)).toThrow("promptLogprobs must be a whole number from 0 to 20");
  for (let id = 1; id <= 16; id++) submit(id, 7)();
  expect(submit(17, 0)).toThrow(EngineFullError);
  bench.loop.cancel(3);
  expect(submit(17, 7)).not.toThrow();
});
