/**
 * One process of bench/engine.ts: does what a replica does (engine thread, prepared model, tokenizer): a newcomer's first token, then what
 * engine/benchmark.ts measures. argv: provider, directory, threads, tokens, the parent's clock at the start (ms since the epoch). Prints one
 * JSON line.
 */
import {
  BENCHMARK_SLOT_LENGTH,
  BENCHMARK_SLOTS,
  BENCHMARK_WHOLE,
  type EngineFigures,
  measureEngine,
} from "../engine/benchmark.ts";
import { openPrepared } from "../engine/node/prepared-cache.ts";
import { kvBytesPerToken } from "../engine/slot-budget.ts";
import { startEngine } from "./engine-client.ts";

const MEBIBYTE = 1024 * 1024;

export interface LoadSample extends EngineFigures {
  /** From the start of the process to the first piece of the first answer. */
  readonly firstTokenMs: number;
  /** Resident after that answer, when hardly any of the KV cache is filled; and at its highest, when all of it is. */
  readonly rssMb: number;
  readonly peakRssMb: number;
  /** What the engine took at its peak beyond weights, keys and values, as a share of them; the process as it started doesn't count. */
  readonly memoryOver: number;
}

const [provider, directory, threads, tokens, startedAt] = process.argv.slice(2) as [
  "native" | "wasm",
  string,
  string,
  string,
  string,
];
const baseRss = process.memoryUsage.rss();
const engine = await startEngine();
const loaded = await engine.load({
  provider,
  prepared: { [provider]: { directory } },
  threads: Number(threads),
  slots: BENCHMARK_SLOTS,
  slotLength: BENCHMARK_SLOT_LENGTH,
});
const messages = [{ role: "user", content: "Could you explain what is dask?" }];
let firstTokenMs = 0;
for await (const _ of engine.generate({ messages, maxTokens: 1 })) firstTokenMs ||= Date.now() - Number(startedAt);
const rssMb = process.memoryUsage.rss() / MEBIBYTE;
const figures = await measureEngine(
  engine,
  loaded,
  { ...BENCHMARK_WHOLE, tokens: Number(tokens) },
  {
    now: () => performance.now(),
    sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
  },
);
const peakRssMb = process.resourceUsage().maxRSS / 1024;
const { weights } = await openPrepared(directory);
const needed = weights.byteLength + loaded.slots * loaded.slotLength * kvBytesPerToken(loaded.config);
const memoryOver = (peakRssMb * MEBIBYTE - baseRss) / needed - 1;
const sample: LoadSample = { ...figures, firstTokenMs, rssMb, peakRssMb, memoryOver };
await engine.close();
console.log(JSON.stringify(sample));
