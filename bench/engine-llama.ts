/**
 * One process of bench/engine.ts: llama.cpp on the same file and machine, through `node-llama-cpp`, which the bench installs into a
 * folder of its own. argv: that folder, GGUF file, threads, tokens. Prints one JSON line.
 */
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { prf } from "../engine/prf.ts";

export interface LlamaSample {
  readonly tokensPerSecond: number;
  readonly tokensPerSecondAt8: number;
  readonly prefill256Ms: number;
  readonly rssMb: number;
}

/** The part of the package that is used. */
interface Sequence {
  evaluate(tokens: readonly number[], options: { temperature: number }): AsyncGenerator<number>;
  dispose(): void;
}
interface LlamaPackage {
  getLlama(options: object): Promise<{
    loadModel(options: object): Promise<{
      createContext(options: object): Promise<{ getSequence(): Sequence }>;
    }>;
  }>;
}

const [folder, modelPath, threads, tokens] = process.argv.slice(2) as [string, string, string, string];
const entry = join(folder, "node_modules/node-llama-cpp/dist/index.js");
const { getLlama } = (await import(pathToFileURL(entry).href)) as LlamaPackage;
const llama = await getLlama({
  gpu: false,
  build: "never",
  skipDownload: true,
  logLevel: "error",
  maxThreads: Number(threads),
});
const model = await llama.loadModel({ modelPath, gpuLayers: 0 });
const context = await model.createContext({
  sequences: 8,
  contextSize: 1_024,
  batchSize: 512,
  threads: Number(threads),
});
const ids = (seed: number, length: number): number[] =>
  Array.from({ length }, (_, i) => 300 + Math.floor(40_000 * prf(seed, i)));

async function run(prompt: readonly number[], most: number): Promise<number[]> {
  const sequence = context.getSequence();
  const times: number[] = [performance.now()];
  for await (const _ of sequence.evaluate(prompt, { temperature: 0 })) {
    times.push(performance.now());
    if (times.length > most) break;
  }
  sequence.dispose();
  return times;
}
const most = Number(tokens);
await run(ids(1, 16), 4);
const one = await run(ids(2, 38), most);
const eight = await Promise.all(Array.from({ length: 8 }, (_, i) => run(ids(10 + i, 24), most)));
const from = Math.max(...eight.map((times) => times[1]!));
const until = Math.min(...eight.map((times) => times.at(-1)!));
const between = eight.reduce((sum, times) => sum + times.filter((time) => time > from && time <= until).length, 0);
const prefill = await run(ids(99, 256), 1);
const sample: LlamaSample = {
  tokensPerSecond: (1_000 * (one.length - 2)) / (one.at(-1)! - one[1]!),
  tokensPerSecondAt8: (1_000 * between) / (until - from),
  prefill256Ms: prefill[1]! - prefill[0]!,
  rssMb: process.memoryUsage.rss() / 1024 / 1024,
};
console.log(JSON.stringify(sample));
process.exit(0);
