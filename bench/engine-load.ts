/**
 * One process of bench/engine.ts: does what a replica does (engine thread, prepared model, tokenizer), and measures one chat, eight, a
 * long prompt, a second turn, and a crowd. argv: provider, directory, threads, tokens, the parent's clock at the start (ms since the epoch).
 * Prints one JSON line.
 */
import { EngineClient } from "../engine/index.ts";
import { prf } from "../engine/prf.ts";
import { spawnNodeEngine } from "../engine/spawn-node.ts";

const SLOTS = 8;
const SLOT_LENGTH = 1_024;
const CROWD = 32;
const MEBIBYTE = 1024 * 1024;
const PROMPT = "Could you explain what is dask?";

export interface LoadSample {
  /** From the start of the process to the first piece of the first answer. */
  readonly firstTokenMs: number;
  /** Resident after that answer, with one slot touched. */
  readonly rssMb: number;
  readonly tokensPerSecond: number;
  readonly tokensPerSecondAt8: number;
  readonly prefill256Ms: number;
  /** First token of a turn behind 300 tokens of history, computed and from the cache. */
  readonly coldTurnMs: number;
  readonly secondTurnMs: number;
  readonly secondTurnPrefilled: number;
  readonly secondTurnNew: number;
  /** The crowd: gaps between tokens in ms, failures, tokens of all per second. */
  readonly crowdFailed: number;
  readonly crowdGapP50Ms: number;
  readonly crowdGapP99Ms: number;
  readonly crowdGapMostMs: number;
  /** The means of that run: a decode step, and a tick's share of prompts. */
  readonly crowdStepMs: number;
  readonly crowdChunkMs: number;
  readonly crowdTokensPerSecond: number;
  readonly crowdFirstTokenP99Ms: number;
  readonly peakRssMb: number;
}

const [provider, directory, threads, tokens, startedAt] = process.argv.slice(2) as [
  "native" | "wasm",
  string,
  string,
  string,
  string,
];
const maxTokens = Number(tokens);
const engine = await EngineClient.start({
  spawn: () => spawnNodeEngine(),
  after: (ms, callback) => {
    const timer = setTimeout(callback, ms);
    return () => clearTimeout(timer);
  },
});
const spec = { provider, threads: Number(threads), slots: SLOTS, slotLength: SLOT_LENGTH };
await engine.load({ ...spec, prepared: { [provider]: { directory } } });

/** Random ids: as good as text for speed. None is special in SmolLM2. */
const randomPrompt = (seed: number, length: number): number[] =>
  Array.from({ length }, (_, i) => 300 + Math.floor(40_000 * prf(seed, i)));

interface Run {
  readonly asked: number;
  readonly times: readonly number[];
  readonly tokens: readonly number[];
}
/** Never ends by itself, so that every run has the same length. */
async function run(
  input: { promptTokens: number[] } | { messages: { role: string; content: string }[] },
  most: number,
): Promise<Run> {
  const asked = performance.now();
  const times: number[] = [];
  const said: number[] = [];
  for await (const piece of engine.generate({ ...input, maxTokens: most, minTokens: most })) {
    if (piece.tokens.length > 0) times.push(performance.now());
    said.push(...piece.tokens);
  }
  return { asked, times, tokens: said };
}
const firstToken = ({ asked, times }: Run): number => times[0]! - asked;
const quantile = (values: readonly number[], q: number): number =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(q * values.length))] ?? NaN;

// One chat, as a newcomer would.
let firstTokenMs = 0;
for await (const _ of engine.generate({ messages: [{ role: "user", content: PROMPT }], maxTokens: 1 }))
  firstTokenMs ||= Date.now() - Number(startedAt);
const one = await run({ messages: [{ role: "user", content: PROMPT }] }, maxTokens);
const tokensPerSecond = (1_000 * (one.times.length - 1)) / (one.times.at(-1)! - one.times[0]!);
const rssMb = process.memoryUsage.rss() / MEBIBYTE;

const eight = await Promise.all(
  Array.from({ length: 8 }, (_, i) => run({ promptTokens: randomPrompt(i + 1, 24) }, maxTokens)),
);
const from = Math.max(...eight.map(({ times }) => times[0]!));
const until = Math.min(...eight.map(({ times }) => times.at(-1)!));
const between = eight.reduce((sum, { times }) => sum + times.filter((time) => time > from && time <= until).length, 0);

const prefill256Ms = firstToken(await run({ promptTokens: randomPrompt(99, 256) }, 1));

const history = randomPrompt(77, 300);
const cold = await run({ promptTokens: history }, 16);
const before = (await engine.stats())!;
const question = randomPrompt(78, 16);
const second = await run({ promptTokens: [...history, ...cold.tokens, ...question] }, 4);
const after = (await engine.stats())!;

const startOfCrowd = performance.now();
const beforeCrowd = after;
let failed = 0;
const crowd = await Promise.all(
  Array.from({ length: CROWD }, async (_, i) => {
    await new Promise((resolve) => setTimeout(resolve, 6_000 * prf(5, i)));
    const prompt = randomPrompt(1_000 + i, 8 + Math.floor(300 * prf(6, i) ** 2));
    return run({ promptTokens: prompt }, 8 + Math.floor(56 * prf(7, i))).catch(() => (failed++, undefined));
  }),
);
const crowdMs = performance.now() - startOfCrowd;
const done = crowd.filter((one_) => one_ !== undefined);
const gaps = done.flatMap(({ times }) => times.slice(1).map((time, i) => time - times[i]!));
const afterCrowd = (await engine.stats())!;
const spent = (key: "decodeMs" | "decodeSteps" | "prefillMs" | "prefillTokens"): number =>
  afterCrowd[key] - beforeCrowd[key];

const sample: LoadSample = {
  firstTokenMs,
  rssMb,
  tokensPerSecond,
  tokensPerSecondAt8: (1_000 * between) / (until - from),
  prefill256Ms,
  coldTurnMs: firstToken(cold),
  secondTurnMs: firstToken(second),
  // The two or three tokens after the first are decoded.
  secondTurnPrefilled: after.prefillTokens - before.prefillTokens,
  secondTurnNew: question.length + 1,
  crowdFailed: failed,
  crowdGapP50Ms: quantile(gaps, 0.5),
  crowdGapP99Ms: quantile(gaps, 0.99),
  crowdGapMostMs: Math.max(...gaps),
  crowdStepMs: spent("decodeMs") / spent("decodeSteps"),
  crowdChunkMs: (64 * spent("prefillMs")) / spent("prefillTokens"),
  crowdTokensPerSecond: (1_000 * done.reduce((sum, { times }) => sum + times.length, 0)) / crowdMs,
  crowdFirstTokenP99Ms: quantile(done.map(firstToken), 0.99),
  peakRssMb: process.resourceUsage().maxRSS / 1024,
};
await engine.close();
console.log(JSON.stringify(sample));
