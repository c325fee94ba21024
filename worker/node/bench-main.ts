/**
 * Measures one model on one provider of this machine, for `skein bench`: bench-main.ts <model> <provider> <threads> <data folder>
 * <allow software GPU: 0 or 1>. Says on stderr what it is doing; the last line on stdout is JSON of Measured.
 */
import { BENCHMARK_SLOT_LENGTH, BENCHMARK_SLOTS, type EngineFigures, measureEngine } from "../../engine/benchmark.ts";
import { EngineClient, type ProviderName } from "../../engine/index.ts";
import { spawnNodeEngine } from "../../engine/spawn-node.ts";
import { ModelStore } from "./model-store.ts";

/** Tokens of an answer. */
const TOKENS = 48;

export interface Measured {
  readonly provider: string;
  readonly figures: EngineFigures;
  /** Why it is not what one might think: notes of the loading. */
  readonly notes: readonly string[];
  readonly rssMb: number;
}

const [model, provider, threads, dataDir, software] = process.argv.slice(2) as [
  string,
  ProviderName,
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
  const located = await new ModelStore(dataDir).locate(model, provider, say);
  if (located.kind !== "prepared") throw new Error("a model on this machine is always prepared");
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
  say(`measuring ${provider}`);
  const figures = await measureEngine(engine, loaded, TOKENS, {
    now: () => performance.now(),
    sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
  });
  const rssMb = process.memoryUsage.rss() / 1024 / 1024;
  await engine.close();
  const measured: Measured = { provider: loaded.provider, figures, notes: loaded.notes, rssMb };
  // A GPU's driver may keep the event loop alive.
  process.stdout.write(`\n${JSON.stringify(measured)}\n`, () => process.exit(0));
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  process.exit(1);
}
