/**
 * The engine on the CPU providers with the default model, beside its raw ceiling and llama.cpp in the same run:
 * `node bench/engine.ts [--short] [--json] [--threads N] [--without-llama]`.
 *
 * Each sample comes from a fresh process. Processes take turns and the medians of the rounds count, so that what else the machine does
 * falls on all alike: the ratios say more than the figures. llama.cpp (`node-llama-cpp`, CPU package, no scripts) is installed under
 * `.cache/`; it is no dependency of the project, and without a network its column is missing.
 */
import { execFile } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";
import { ENGINE_ENVIRONMENT } from "../worker/node/engine-environment.ts";
import { prepareCached } from "../engine/node/prepared-cache.ts";
import { defaultModelPath } from "../test/support/default-model.ts";
import type { LlamaSample } from "./engine-llama.ts";
import type { LoadSample } from "./engine-load.ts";
import type { RawSample } from "./engine-raw.ts";
import { machineFacts } from "./machine-facts.ts";

const PROVIDERS = ["native", "wasm"] as const;
/** A process that takes longer is hung. */
const PROCESS_MS = 600_000;
const INSTALL_MS = 300_000;
const LLAMA_FOLDER = fileURLToPath(new URL("../.cache/llama-cpp/", import.meta.url));
const LLAMA_VERSION = "3.22.1";

const { values: options } = parseArgs({
  options: {
    short: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
    threads: { type: "string", default: "2" },
    "without-llama": { type: "boolean", default: false },
  },
});

async function sampleOf<T>(program: string, ...args: readonly string[]): Promise<T> {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [fileURLToPath(new URL(`${program}.ts`, import.meta.url)), ...args],
    { env: { ...process.env, ...ENGINE_ENVIRONMENT }, timeout: PROCESS_MS },
  );
  return JSON.parse(stdout) as T;
}

/** The folder with llama.cpp, or undefined with a sentence on stderr where it can't be had. */
async function llamaFolder(): Promise<string | undefined> {
  const binary = `@node-llama-cpp/${process.platform === "darwin" ? "mac" : process.platform === "win32" ? "win" : "linux"}-${process.arch}`;
  if (existsSync(join(LLAMA_FOLDER, "node_modules", binary))) return LLAMA_FOLDER;
  mkdirSync(LLAMA_FOLDER, { recursive: true });
  writeFileSync(join(LLAMA_FOLDER, "package.json"), '{ "private": true }\n');
  const packages = ["node-llama-cpp", binary].map((name) => `${name}@${LLAMA_VERSION}`);
  try {
    // Without the optional packages: those for GPUs are 600 MB.
    await promisify(execFile)("npm", ["install", "--ignore-scripts", "--omit=optional", ...packages], {
      cwd: LLAMA_FOLDER,
      timeout: INSTALL_MS,
    });
    return LLAMA_FOLDER;
  } catch (error) {
    console.error(`llama.cpp could not be installed, its column is missing: ${String(error).slice(0, 200)}`);
    return undefined;
  }
}

function medianOf<T extends object>(samples: readonly T[]): T {
  const keys = Object.keys(samples[0] ?? {}) as (keyof T)[];
  const median = (key: keyof T): number => {
    const sorted = samples.map((sample) => Number(sample[key])).toSorted((a, b) => a - b);
    return sorted[Math.floor(sorted.length / 2)]!;
  };
  return Object.fromEntries(keys.map((key) => [key, median(key)])) as T;
}

const facts = machineFacts();
const rounds = options.short ? 1 : 3;
const tokens = options.short ? "24" : "48";
const runs = options.short ? "12" : "30";
const { threads } = options;
const cache = join(tmpdir(), "skein-bench-prepared");
const file = await defaultModelPath();
const directories = new Map<string, string>();
const conversionMs: Record<string, number> = {};
for (const target of PROVIDERS) {
  const cold = join(tmpdir(), `skein-bench-cold-${process.pid}`);
  const began = performance.now();
  await prepareCached({ file, target, cache: cold, now: Date.now() });
  conversionMs[target] = performance.now() - began;
  await rm(cold, { recursive: true });
  directories.set(target, await prepareCached({ file, target, cache, now: Date.now() }));
}
const llama = options["without-llama"] ? undefined : await llamaFolder();

const loads = new Map<string, LoadSample[]>(PROVIDERS.map((name) => [name, []]));
const raws = new Map<string, RawSample[]>(PROVIDERS.map((name) => [name, []]));
const llamas: LlamaSample[] = [];
for (let round = 0; round < rounds; round++) {
  for (const name of PROVIDERS) {
    const directory = directories.get(name)!;
    raws.get(name)!.push(await sampleOf<RawSample>("engine-raw", name, directory, threads, runs));
    loads
      .get(name)!
      .push(await sampleOf<LoadSample>("engine-load", name, directory, threads, tokens, String(Date.now())));
  }
  if (llama !== undefined) llamas.push(await sampleOf<LlamaSample>("engine-llama", llama, file, threads, tokens));
}

const beside = llamas.length > 0 ? medianOf(llamas) : undefined;
const results = PROVIDERS.map((provider) => {
  const engine = medianOf(loads.get(provider)!);
  const raw = medianOf(raws.get(provider)!);
  return {
    provider,
    threads: Number(threads),
    tokensPerSecond: engine.tokensPerSecond,
    tokensPerSecondAt8: engine.tokensPerSecondAt8,
    at8OverOne: engine.tokensPerSecondAt8 / engine.tokensPerSecond,
    rawTokensPerSecond: 1_000 / raw.stepMs,
    rawTokensPerSecondAt8: 8_000 / raw.stepAt8Ms,
    loopShare: raw.loopMs / raw.stepMs,
    loopShareAt8: raw.loopAt8Ms / raw.stepAt8Ms,
    loopShareDrawnAt8: raw.loopDrawnAt8Ms / raw.stepAt8Ms,
    prefill256Ms: engine.prefill256Ms,
    rawPrefill256Ms: raw.prefill256Ms,
    coldTurnMs: engine.coldTurnMs,
    secondTurnMs: engine.secondTurnMs,
    secondTurnPrefilled: engine.secondTurnPrefilled,
    secondTurnNew: engine.secondTurnNew,
    crowdFailed: engine.crowdFailed,
    crowdGapP50Ms: engine.crowdGapP50Ms,
    crowdGapP99Ms: engine.crowdGapP99Ms,
    crowdGapMostMs: engine.crowdGapMostMs,
    /** Two decode steps and a tick's prompts, as measured in that run: what the 99th percentile is held against. */
    crowdGapBoundMs: 2 * engine.crowdStepMs + engine.crowdChunkMs,
    crowdTokensPerSecond: engine.crowdTokensPerSecond,
    crowdFirstTokenP99Ms: engine.crowdFirstTokenP99Ms,
    firstTokenMs: engine.firstTokenMs,
    coldConversionMs: conversionMs[provider]!,
    rssMb: engine.rssMb,
    peakRssMb: engine.peakRssMb,
    memoryOver: engine.memoryOver,
    ...(beside && {
      llamaTokensPerSecond: beside.tokensPerSecond,
      overLlama: engine.tokensPerSecond / beside.tokensPerSecond,
      overLlamaAt8: engine.tokensPerSecondAt8 / beside.tokensPerSecondAt8,
      prefillOverLlama: beside.prefill256Ms / engine.prefill256Ms,
    }),
  };
});
if (options.json) {
  console.log(
    JSON.stringify({ benchmark: "engine", machine: facts, rounds, tokens: Number(tokens), results, llama: beside }),
  );
} else {
  const { cpu, cores, memoryMb, system, node, load } = facts;
  console.log(`${cpu}, ${cores} cores, ${memoryMb} MB, ${system}, Node ${node}, load ${load.toFixed(2)}`);
  console.log(`medians of ${rounds} fresh processes each, ${threads} threads\n`);
  for (const key of Object.keys(results[0]!) as (keyof (typeof results)[0])[]) {
    const show = (value: unknown): string =>
      typeof value === "number" ? String(Number(value.toPrecision(4))) : String(value);
    console.log(`${key.padEnd(24)}${results.map((result) => show(result[key]).padEnd(12)).join("")}`);
  }
}
