/**
 * One process of bench/engine.ts: the runner alone, without scheduler, sampler, text or thread: the ceiling of the engine on it. And the
 * engine's loop alone, on a runner that takes no time: what it adds to each step.
 * argv: provider, directory, threads, runs. Prints one JSON line.
 */
import { EngineLoop } from "../engine/loop.ts";
import { openPrepared } from "../engine/node/prepared-cache.ts";
import { startNodeThread } from "../engine/node/team-threads.ts";
import { prf } from "../engine/prf.ts";
import { createNativeRunner } from "../engine/providers/native.ts";
import { createWasmRunner } from "../engine/providers/wasm.ts";
import { GREEDY } from "../engine/sampling.ts";
import { Tokenizer } from "../engine/tokenizer/tokenizer.ts";
import type { Runner, SamplingParameters } from "../engine/types.ts";

const OPTIONS = { slots: 8, slotLength: 1_024 };
const PAST = 64;

/** Medians, ms. */
export interface RawSample {
  readonly stepMs: number;
  readonly stepAt8Ms: number;
  readonly prefill64Ms: number;
  readonly prefill256Ms: number;
  /** Of the loop, for each step: greedy with one row and eight, and drawn (temperature 0.8, top-p 0.95, a repetition penalty) with eight. */
  readonly loopMs: number;
  readonly loopAt8Ms: number;
  readonly loopDrawnAt8Ms: number;
}

const [provider, directory, threads, runs] = process.argv.slice(2) as [string, string, string, string];
const load = provider === "native" ? createNativeRunner : createWasmRunner;
const prepared = await openPrepared(directory);
const runner = await load(prepared, { ...OPTIONS, threads: Number(threads), startThread: startNodeThread });
const ids = (length: number): Int32Array => Int32Array.from({ length }, (_, i) => 300 + Math.floor(40_000 * prf(3, i)));

async function median(run: () => Promise<unknown>, times: number): Promise<number> {
  await run();
  const took: number[] = [];
  for (let i = 0; i < times; i++) {
    const began = performance.now();
    await run();
    took.push(performance.now() - began);
  }
  return took.toSorted((a, b) => a - b)[Math.floor(times / 2)]!;
}
const times = Number(runs);
for (let slot = 0; slot < OPTIONS.slots; slot++) await runner.prefill(slot, ids(PAST), 0, false);
const step = (rows: number) => () => runner.decode(ids(rows), new Int32Array(rows).fill(PAST));

const DRAWN: SamplingParameters = { ...GREEDY, temperature: 0.8, topP: 0.95, repetitionPenalty: 1.1, seed: 1 };
const tokenizer = new Tokenizer(prepared.tokenizer);

/** Time of the loop between two decode steps of `rows` sequences, ms, median. */
async function loopOverhead(rows: number, sampling: SamplingParameters): Promise<number> {
  const { config, slotLength } = runner;
  const logits = Float32Array.from({ length: rows * config.vocabulary }, (_, i) => 12 * prf(9, i % config.vocabulary));
  const took: number[] = [];
  let returned = 0;
  const instant: Runner = {
    ...runner,
    slots: rows,
    slotLength,
    prefill: async (_slot, _tokens, _start, wantLogits) =>
      wantLogits ? logits.subarray(0, config.vocabulary) : undefined,
    decode: async () => {
      if (returned > 0) took.push(performance.now() - returned);
      returned = performance.now();
      return logits;
    },
  };
  const loop = new EngineLoop({
    runner: instant,
    text: tokenizer,
    yieldTurn: () => new Promise((resolve) => setImmediate(resolve)),
    now: () => performance.now(),
  });
  for (let id = 0; id < rows; id++) {
    const request = { promptTokens: [...ids(24)], sampling, maxTokens: 200, minTokens: 200, stop: ["\n\n\n"] };
    loop.submit(id, request, {
      onOutput: ({ tokens }) => loop.acknowledge(id, tokens.length),
      onError: (error) => {
        throw error;
      },
    });
  }
  await loop.idle();
  return took.toSorted((a, b) => a - b)[Math.floor(took.length / 2)]!;
}

const sample: RawSample = {
  stepMs: await median(step(1), times),
  stepAt8Ms: await median(step(8), times),
  prefill64Ms: await median(() => runner.prefill(0, ids(64), 0, true), Math.ceil(times / 6)),
  prefill256Ms: await median(() => runner.prefill(0, ids(256), 0, true), Math.ceil(times / 12)),
  loopMs: await loopOverhead(1, GREEDY),
  loopAt8Ms: await loopOverhead(8, GREEDY),
  loopDrawnAt8Ms: await loopOverhead(8, DRAWN),
};
await runner.release();
console.log(JSON.stringify(sample));
