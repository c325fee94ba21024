/**
 * How fast one chat is, on the CPU providers with the default model: `node bench/engine.ts [--short] [--json] [--threads N]`.
 *
 * Each figure comes from a fresh process that does what a replica does: starts the engine's thread, loads the prepared model with its
 * tokenizer, and asks for one chat's answer. Processes take turns; the median of the rounds counts, the best is printed beside it.
 */
import { execFile } from "node:child_process";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";
import { EngineClient } from "../engine/index.ts";
import { prepareCached } from "../engine/node/prepared-cache.ts";
import { spawnNodeEngine } from "../engine/spawn-node.ts";
import { defaultModelPath } from "../test/support/default-model.ts";
import { machineFacts } from "./machine-facts.ts";

const PROVIDERS = ["native", "wasm"] as const;
type Provider = (typeof PROVIDERS)[number];

const PROMPT = "Could you explain what is dask?";
const SLOT_LENGTH = 2_048;
/** A process that takes longer is hung. */
const PROCESS_MS = 120_000;
const MEBIBYTE = 1024 * 1024;

/** What one process measured. */
interface Sample {
  /** From the start of the process to the first piece of the answer. */
  readonly firstTokenMs: number;
  /** Mean time between two tokens after the first: pieces may arrive in bunches, so single gaps mean little. */
  readonly tokenMs: number;
  readonly tokens: number;
  /** Resident at the end of the answer, and at its highest. */
  readonly rssMb: number;
  readonly peakRssMb: number;
}

const { values: options } = parseArgs({
  options: {
    short: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
    threads: { type: "string", default: "2" },
    child: { type: "string" },
    directory: { type: "string" },
    tokens: { type: "string" },
  },
});

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? NaN;
}

async function measureOnce(provider: Provider, directory: string, threads: number, maxTokens: number): Promise<Sample> {
  const engine = await EngineClient.start({
    spawn: () => spawnNodeEngine(),
    after: (ms, callback) => {
      const timer = setTimeout(callback, ms);
      return () => clearTimeout(timer);
    },
  });
  await engine.load({ prepared: { [provider]: { directory } }, provider, threads, slots: 1, slotLength: SLOT_LENGTH });
  const times: number[] = [];
  let tokens = 0;
  for await (const piece of engine.generate({ messages: [{ role: "user", content: PROMPT }], maxTokens })) {
    tokens += piece.tokens.length;
    times.push(performance.now());
  }
  const sample: Sample = {
    firstTokenMs: times[0]!,
    tokenMs: (times.at(-1)! - times[0]!) / (times.length - 1),
    tokens,
    rssMb: process.memoryUsage.rss() / MEBIBYTE,
    peakRssMb: process.resourceUsage().maxRSS / 1024,
  };
  await engine.close();
  return sample;
}

async function runProcess(provider: Provider, directory: string, tokens: number): Promise<Sample> {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [
      fileURLToPath(import.meta.url),
      "--child",
      provider,
      "--directory",
      directory,
      "--threads",
      options.threads,
      "--tokens",
      String(tokens),
    ],
    { env: { ...process.env, ORT_DISABLE_TELEMETRY: "1" }, timeout: PROCESS_MS },
  );
  return JSON.parse(stdout) as Sample;
}

async function main(): Promise<void> {
  const facts = machineFacts();
  const rounds = options.short ? 3 : 7;
  const tokens = options.short ? 48 : 128;
  const cache = join(tmpdir(), "skein-bench-prepared");
  const file = await defaultModelPath();
  const directories = new Map<Provider, string>();
  for (const provider of PROVIDERS)
    directories.set(provider, await prepareCached({ file, target: provider, cache, now: Date.now() }));

  const samples = new Map<Provider, Sample[]>(PROVIDERS.map((provider) => [provider, []]));
  for (let round = 0; round < rounds; round++) {
    for (const provider of PROVIDERS)
      samples.get(provider)!.push(await runProcess(provider, directories.get(provider)!, tokens));
  }
  const results = PROVIDERS.map((provider) => {
    const of = (pick: (sample: Sample) => number): number[] => samples.get(provider)!.map(pick);
    return {
      provider,
      threads: Number(options.threads),
      tokensPerSecond: 1_000 / median(of(({ tokenMs }) => tokenMs)),
      bestTokensPerSecond: 1_000 / Math.min(...of(({ tokenMs }) => tokenMs)),
      firstTokenMs: median(of(({ firstTokenMs }) => firstTokenMs)),
      bestFirstTokenMs: Math.min(...of(({ firstTokenMs }) => firstTokenMs)),
      rssMb: median(of(({ rssMb }) => rssMb)),
      peakRssMb: Math.max(...of(({ peakRssMb }) => peakRssMb)),
    };
  });
  if (options.json) {
    console.log(JSON.stringify({ benchmark: "engine", machine: facts, rounds, tokens, results }));
    return;
  }
  console.log(
    `${facts.cpu}, ${facts.cores} cores, ${facts.memoryMb} MB, ${facts.system}, Node ${facts.node}, load ${facts.load.toFixed(2)}`,
  );
  console.log(`one chat of ${tokens} tokens, ${rounds} fresh processes each, ${options.threads} threads\n`);
  console.log("provider   tokens/s (best)   start to first token (best)   resident (highest)");
  for (const {
    provider,
    tokensPerSecond,
    bestTokensPerSecond,
    firstTokenMs,
    bestFirstTokenMs,
    rssMb,
    peakRssMb,
  } of results) {
    const speed = `${tokensPerSecond.toFixed(1)} (${bestTokensPerSecond.toFixed(1)})`;
    const start = `${(firstTokenMs / 1_000).toFixed(2)} s (${(bestFirstTokenMs / 1_000).toFixed(2)} s)`;
    console.log(
      `${provider.padEnd(10)} ${speed.padEnd(17)} ${start.padEnd(29)} ${rssMb.toFixed(0)} MiB (${peakRssMb.toFixed(0)} MiB)`,
    );
  }
}

const provider = PROVIDERS.find((name) => name === options.child);
if (provider !== undefined && options.directory !== undefined) {
  console.log(
    JSON.stringify(await measureOnce(provider, options.directory, Number(options.threads), Number(options.tokens))),
  );
} else {
  await main();
}
