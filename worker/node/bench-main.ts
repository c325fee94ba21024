/**
 * Measures one model on one provider of this machine, for `skein bench`: bench-main.ts <model> <provider> <threads> <data folder>
 * <allow software GPU: 0 or 1> <short: 0 or 1>. Says on stderr what it is doing; the last line on stdout is JSON of Measured.
 */
import { randomUUID } from "node:crypto";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import {
  BENCHMARK_SHORT,
  BENCHMARK_SLOT_LENGTH,
  BENCHMARK_SLOTS,
  BENCHMARK_WHOLE,
  type EngineFigures,
  measureEngine,
} from "../../engine/benchmark.ts";
import { EngineClient, type ProviderName } from "../../engine/index.ts";
import { openPrepared } from "../../engine/node/prepared-cache.ts";
import { kvBytesPerToken } from "../../engine/slot-budget.ts";
import { spawnNodeEngine } from "../../engine/spawn-node.ts";
import { ensureModel } from "./ensure-model.ts";
import { ModelStore, prepare } from "./model-store.ts";

export interface Measured {
  readonly provider: string;
  readonly figures: EngineFigures;
  /** Why it is not what one might think: notes of the loading. */
  readonly notes: readonly string[];
  /** Of a process that does nothing else. */
  readonly rssMb: number;
  /** By how much that is more than weights, keys and values, as a share of them; null where those lie in a GPU. */
  readonly rssOver: number | null;
  /** From the checkpoint to files that the provider reads, as at the first use. */
  readonly coldConversionMs: number;
  /** From those files to the first token of a short prompt. */
  readonly startMs: number;
}

const [model, provider, threads, dataDir, software, short] = process.argv.slice(2) as [
  string,
  ProviderName,
  string,
  string,
  string,
  string,
];
const after = (ms: number, callback: () => void): (() => void) => {
  const timer = setTimeout(callback, ms);
  return () => clearTimeout(timer);
};
const say = (doing: string): void => console.error(doing);

try {
  const store = new ModelStore(dataDir);
  const located = await store.locate(model, provider, say);
  if (located.kind !== "prepared") throw new Error("a model on this machine is always prepared");
  const coldConversionMs = await convert(await ensureModel(model, { dataDir }), store.folder);
  const began = performance.now();
  const engine = await EngineClient.start({ spawn: () => spawnNodeEngine(), after });
  const loaded = await engine.load(
    {
      provider,
      prepared: { [provider]: { directory: located.directory } },
      threads: Number(threads),
      slots: BENCHMARK_SLOTS,
      slotLength: BENCHMARK_SLOT_LENGTH,
      allowSoftwareGpu: software === "1",
    },
    ({ stage }) => say(stage),
  );
  for await (const _ of engine.generate({ promptTokens: [0, 1, 2, 3], maxTokens: 1, minTokens: 1 })) break;
  const startMs = performance.now() - began;
  say(`measuring ${provider}`);
  const figures = await measureEngine(engine, loaded, short === "1" ? BENCHMARK_SHORT : BENCHMARK_WHOLE, {
    now: () => performance.now(),
    sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
  });
  const rss = process.memoryUsage.rss();
  await engine.close();
  const { weights } = await openPrepared(located.directory);
  const needed = weights.byteLength + loaded.slots * loaded.slotLength * kvBytesPerToken(loaded.config);
  const measured: Measured = {
    provider: loaded.provider,
    figures,
    notes: loaded.notes,
    rssMb: rss / 1024 / 1024,
    rssOver: loaded.provider === "webgpu" ? null : rss / needed - 1,
    coldConversionMs,
    startMs,
  };
  // A GPU's driver may keep the event loop alive.
  process.stdout.write(`\n${JSON.stringify(measured)}\n`, () => process.exit(0));
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  process.exit(1);
}

/** Converts once more, into a folder that the next conversion sweeps away if this process dies, ms. */
async function convert(checkpoint: string, cache: string): Promise<number> {
  const folder = join(cache, `bench.partial-${randomUUID()}`);
  const began = performance.now();
  try {
    await prepare(checkpoint, provider, undefined, folder, (stage, percent) => say(`${stage} ${percent} %`));
    return performance.now() - began;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
