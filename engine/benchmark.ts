/**
 * Measures a loaded engine through its client, as callers meet it: one chat, eight, a long prompt, a second turn, and a crowd that comes
 * at random. Time is an argument; the figures belong to the machine.
 */
import type { EngineClient } from "./client.ts";
import { PREFILL_BESIDE_DECODE_TOKENS } from "./limits.ts";
import { prf } from "./prf.ts";
import type { EngineStats } from "./stats.ts";
import type { LoadedModel } from "./thread-messages.ts";

/** What it needs of the model: eight slots of so many tokens, or what the model has. */
export const BENCHMARK_SLOTS = 8;
export const BENCHMARK_SLOT_LENGTH = 512;

const CROWD = 32;
/** Tokens of a crowd's stream between two looks at the engine. */
const TOKENS_A_LOOK = 8;

export interface BenchmarkSize {
  /** How long answers are: 16 or more, so that the first of eight still runs when the last begins. */
  readonly tokens: number;
  /** The crowd arrives within this time, ms. */
  readonly arrivalsMs: number;
}
export const BENCHMARK_WHOLE: BenchmarkSize = { tokens: 48, arrivalsMs: 6_000 };
/** To see that it works; its figures waver. */
export const BENCHMARK_SHORT: BenchmarkSize = { tokens: 16, arrivalsMs: 500 };

export interface EngineFigures {
  readonly tokensPerSecond: number;
  readonly tokensPerSecondAt8: number;
  readonly prefill256Ms: number;
  /** First token behind 300 tokens of history, computed, and as a second turn from the cache. */
  readonly coldTurnMs: number;
  readonly secondTurnMs: number;
  /** Tokens that the second turn prefilled, of those that were new. */
  readonly secondTurnPrefilled: number;
  readonly secondTurnNew: number;
  /** Of that turn's prompt, the share that was found in the cache. */
  readonly secondTurnCached: number;
  readonly crowdFailed: number;
  /** Gaps between two tokens of one stream. */
  readonly crowdGapP50Ms: number;
  readonly crowdGapP99Ms: number;
  readonly crowdGapMostMs: number;
  /** The means of that run: a decode step, and as many tokens of prompts as come between two. */
  readonly crowdStepMs: number;
  readonly crowdChunkMs: number;
  readonly crowdTokensPerSecond: number;
  readonly crowdFirstTokenP99Ms: number;
  /** The most at any look: sequences with and without a slot, and the share of the cache that they filled. */
  readonly crowdRunningMost: number;
  readonly crowdWaitingMost: number;
  readonly crowdKvUsageMost: number;
}

export interface BenchmarkClock {
  /** ms */
  now(): number;
  sleep(ms: number): Promise<void>;
}

interface Run {
  readonly asked: number;
  readonly times: readonly number[];
  readonly tokens: readonly number[];
}

/** Nothing else may use the engine meanwhile. */
export async function measureEngine(
  engine: EngineClient,
  { config, provider }: LoadedModel,
  { tokens, arrivalsMs }: BenchmarkSize,
  { now, sleep }: BenchmarkClock,
): Promise<EngineFigures> {
  /** Random ids are as good as text for speed; the first and last tenth of a vocabulary may be special. */
  const prompt = (seed: number, length: number): number[] =>
    Array.from({ length }, (_, i) => Math.floor(config.vocabulary * (0.1 + 0.8 * prf(seed, i))));

  /** Never ends by itself, so that every run has the same length. */
  async function run(promptTokens: readonly number[], most: number, look = (): void => {}): Promise<Run> {
    const asked = now();
    const times: number[] = [];
    const said: number[] = [];
    for await (const piece of engine.generate({ promptTokens, maxTokens: most, minTokens: most })) {
      if (piece.tokens.length > 0) times.push(now());
      said.push(...piece.tokens);
      if (times.length % TOKENS_A_LOOK === 1) look();
    }
    return { asked, times, tokens: said };
  }

  await run(prompt(1, 16), 4);
  const one = await run(prompt(2, 38), tokens);
  const eight = await Promise.all(Array.from({ length: 8 }, (_, i) => run(prompt(10 + i, 24), tokens)));
  const from = Math.max(...eight.map(({ times }) => times[0]!));
  const until = Math.min(...eight.map(({ times }) => times.at(-1)!));
  const between = eight.flatMap(({ times }) => times.filter((time) => time > from && time <= until)).length;

  const long = await run(prompt(99, 256), 1);
  const history = prompt(77, 300);
  const cold = await run(history, 16);
  const question = prompt(78, 16);
  const before = await statsOf(engine);
  const second = await run([...history, ...cold.tokens, ...question], 4);
  const after = await statsOf(engine);

  const looks: Promise<EngineStats>[] = [];
  const crowdBegan = now();
  let failed = 0;
  const crowd = await Promise.all(
    Array.from({ length: CROWD }, async (_, i) => {
      await sleep(arrivalsMs * prf(5, i));
      // Many short ones, some long.
      const length = 8 + Math.floor(300 * prf(6, i) ** 2);
      const most = 8 + Math.floor(tokens * prf(7, i));
      return run(prompt(1_000 + i, length), most, () => void looks.push(statsOf(engine))).catch(() => void failed++);
    }),
  );
  const crowdMs = now() - crowdBegan;
  const done = crowd.filter((result) => result !== undefined);
  const gaps = done.flatMap(({ times }) => times.slice(1).map((time, i) => time - times[i]!));
  const end = await statsOf(engine);
  const seen = await Promise.all(looks);
  return {
    tokensPerSecond: (1_000 * (one.times.length - 1)) / (one.times.at(-1)! - one.times[0]!),
    tokensPerSecondAt8: (1_000 * between) / (until - from),
    prefill256Ms: firstToken(long),
    coldTurnMs: firstToken(cold),
    secondTurnMs: firstToken(second),
    secondTurnPrefilled: after.prefillTokens - before.prefillTokens,
    // The last token of an answer is never run.
    secondTurnNew: question.length + 1,
    secondTurnCached:
      (after.cachedPromptTokens - before.cachedPromptTokens) / (after.promptTokens - before.promptTokens),
    crowdFailed: failed,
    crowdGapP50Ms: quantile(gaps, 0.5),
    crowdGapP99Ms: quantile(gaps, 0.99),
    crowdGapMostMs: Math.max(...gaps),
    crowdStepMs: (end.decodeMs - after.decodeMs) / (end.decodeSteps - after.decodeSteps),
    crowdChunkMs:
      (PREFILL_BESIDE_DECODE_TOKENS[provider] * (end.prefillMs - after.prefillMs)) /
      (end.prefillTokens - after.prefillTokens),
    crowdTokensPerSecond: (1_000 * done.reduce((sum, { times }) => sum + times.length, 0)) / crowdMs,
    crowdFirstTokenP99Ms: quantile(done.map(firstToken), 0.99),
    crowdRunningMost: Math.max(...seen.map(({ running }) => running)),
    crowdWaitingMost: Math.max(...seen.map(({ waiting }) => waiting)),
    crowdKvUsageMost: Math.max(...seen.map(({ kvUsage }) => kvUsage)),
  };
}

const firstToken = ({ asked, times }: Run): number => times[0]! - asked;

function quantile(values: readonly number[], q: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? NaN;
}

async function statsOf(engine: EngineClient): Promise<EngineStats> {
  const stats = await engine.stats();
  if (stats === undefined || "kind" in stats) throw new Error("the engine has no language model: load one first");
  return stats;
}
