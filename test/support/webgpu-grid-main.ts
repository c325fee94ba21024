/**
 * A child process for tests: the tiny model through WebGPU on whatever adapter the environment gives (SwiftShader), compared with the f32
 * oracle for chunks of every length from 1 to 128, with and without a past, and ragged batches of every size; then the device is lost. Prints one JSON line.
 */
import { sourceOfBytes } from "../../engine/gguf/source.ts";
import { EngineLoop } from "../../engine/loop.ts";
import { PREFILL_SCORED_TOKENS } from "../../engine/limits.ts";
import { prepareInMemory } from "../../engine/prepare.ts";
import { nodeGpu } from "../../engine/providers/node-gpu.ts";
import { createWebgpuRunner } from "../../engine/providers/webgpu.ts";
import { createReferenceRunner } from "../../engine/reference/decoder.ts";
import { Tokenizer } from "../../engine/tokenizer/tokenizer.ts";
import { makeTinyGguf } from "./tiny-gguf.ts";

const SLOTS = { slots: 8, slotLength: 288 };
const CHUNK_MAX = 128;
const PAST = 37;

export interface GridRun {
  /** Largest difference of a logit for each case. */
  readonly errors: Readonly<Record<string, number>>;
  /** What the engine said when the device was lost with nothing running. */
  readonly lost: string;
}

const tiny = makeTinyGguf();
const gpu = await nodeGpu();
let device: GPUDevice | undefined;
const watched = {
  async requestAdapter(options?: GPURequestAdapterOptions) {
    const adapter = await gpu.requestAdapter(options);
    const requestDevice = adapter?.requestDevice.bind(adapter);
    if (adapter) adapter.requestDevice = async (descriptor) => (device = await requestDevice!(descriptor));
    return adapter;
  },
};
const prepared = await prepareInMemory(sourceOfBytes(tiny.bytes), { target: "webgpu" });
const runner = await createWebgpuRunner(prepared, { ...SLOTS, threads: 1, gpu: watched, allowSoftwareGpu: true });
const oracle = createReferenceRunner(tiny.config, tiny.weights, SLOTS);
const prompt = Int32Array.from({ length: 256 }, (_, i) => (17 * i + 3) % 509);
const errors: Record<string, number> = {};

const difference = (a: Float32Array, b: Float32Array): number =>
  a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i]!)), 0);

for (let length = 1; length <= CHUNK_MAX; length++) {
  for (const past of [0, PAST]) {
    const compared: Float32Array[] = [];
    for (const which of [runner, oracle]) {
      if (past > 0) await which.prefill(0, prompt.subarray(0, past), 0, false);
      compared.push((await which.prefill(0, prompt.subarray(past, past + length), past, true))!.slice());
    }
    errors[`chunk ${length} after ${past}`] = difference(compared[0]!, compared[1]!);
  }
}
for (const past of [0, PAST]) {
  const compared: Float32Array[] = [];
  for (const which of [runner, oracle]) {
    if (past > 0) await which.prefill(0, prompt.subarray(0, past), 0, false);
    compared.push((await which.prefillScored(0, prompt.subarray(past, past + PREFILL_SCORED_TOKENS), past)).slice());
  }
  errors[`every token after ${past}`] = difference(compared[0]!, compared[1]!);
}
for (let rows = 1; rows <= SLOTS.slots; rows++) {
  const lengths = Array.from({ length: rows }, (_, row) => 5 + 9 * row);
  const compared: Float32Array[] = [];
  for (const which of [runner, oracle]) {
    for (const [slot, length] of lengths.entries())
      await which.prefill(slot, prompt.subarray(slot, slot + length), 0, false);
    const tokens = Int32Array.from({ length: rows }, (_, row) => 100 + row);
    compared.push((await which.decode(tokens, Int32Array.from(lengths))).slice());
  }
  errors[`batch ${rows}`] = difference(compared[0]!, compared[1]!);
}

const lost = await new Promise<string>((resolve) => {
  void new EngineLoop({
    runner,
    text: Tokenizer.fromGguf(tiny.tokenizerMetadata),
    yieldTurn: () => Promise.resolve(),
    now: () => performance.now(),
    onBroken: (error) => resolve(error.message),
  });
  device!.destroy();
});
console.log(JSON.stringify({ errors, lost } satisfies GridRun));
process.exit(0);
