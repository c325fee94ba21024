/** The native and WASM providers against the plain f32 oracle on a tiny random model: same weights, every way to run them. */
import { Worker } from "node:worker_threads";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { sourceOfBytes } from "../../../engine/gguf/source.ts";
import { startNodeThread } from "../../../engine/node/team-threads.ts";
import type { Target } from "../../../engine/onnx/target.ts";
import { prepareInMemory, type PreparedModel } from "../../../engine/prepare.ts";
import { createNativeRunner } from "../../../engine/providers/native.ts";
import { createWasmRunner } from "../../../engine/providers/wasm.ts";
import { createReferenceRunner } from "../../../engine/reference/decoder.ts";
import type { Runner } from "../../../engine/types.ts";
import type { GgufFormat } from "../../support/gguf-writer.ts";
import { makeTinyGguf } from "../../support/tiny-gguf.ts";

// The runtime reads the process's environment when it loads; test processes are ours to set.
process.env["ORT_DISABLE_TELEMETRY"] = "1";

const SLOTS = { slots: 3, slotLength: 96 };

interface Provider {
  readonly name: string;
  readonly format: GgufFormat;
  readonly target: Target;
  readonly load: (prepared: PreparedModel) => Promise<Runner>;
  /** Largest difference of a logit; the oracle's have a standard deviation of 4. Level 4 rounds activations to int8, our kernels to 16 bits. */
  readonly tolerance: number;
}

const native = (threads: number) => (prepared: PreparedModel) => createNativeRunner(prepared, { ...SLOTS, threads });
const wasm = (threads: number) => (prepared: PreparedModel) =>
  createWasmRunner(prepared, { ...SLOTS, threads, startThread: startNodeThread });

const PROVIDERS: readonly Provider[] = [
  { name: "native, F32 file", format: "F32", target: "native", load: native(1), tolerance: 1e-3 },
  { name: "native, Q4_1 and Q8_0 file", format: "Q4_1", target: "native", load: native(2), tolerance: 1.5 },
  { name: "native, Q4_0 and Q8_0 file", format: "Q4_0", target: "native", load: native(1), tolerance: 1.5 },
  { name: "native, Q8_0 file", format: "Q8_0", target: "native", load: native(1), tolerance: 1.5 },
  { name: "native, Q4_1 file as f32", format: "Q4_1", target: "f32", load: native(1), tolerance: 1e-3 },
  { name: "wasm, F32 file", format: "F32", target: "wasm", load: wasm(1), tolerance: 1e-3 },
  { name: "wasm, Q4_1 and Q8_0 file, two threads", format: "Q4_1", target: "wasm", load: wasm(2), tolerance: 1e-2 },
  { name: "wasm, Q4_0 and Q8_0 file", format: "Q4_0", target: "wasm", load: wasm(1), tolerance: 1e-2 },
  { name: "wasm, Q8_0 file, three threads", format: "Q8_0", target: "wasm", load: wasm(3), tolerance: 1e-2 },
  { name: "wasm, Q4_1 file as f32, two threads", format: "Q4_1", target: "wasm-f32", load: wasm(2), tolerance: 1e-3 },
];

const PROMPTS = [9, 70, 33].map((length, row) => Int32Array.from({ length }, (_, i) => (17 * i + 5 * row + 3) % 512));
const mostDifference = (a: Float32Array, b: Float32Array): number =>
  a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i]!)), 0);
const argmax = (logits: Float32Array): number =>
  logits.reduce((best, value, i) => (value > logits[best]! ? i : best), 0);

describe.each(PROVIDERS)("$name", ({ format, target, load, tolerance }) => {
  const tiny = makeTinyGguf({ format });
  let runner: Runner;
  let oracle: Runner;
  let compared = 0;

  async function both(run: (which: Runner) => Promise<Float32Array | undefined>): Promise<Float32Array> {
    const expected = (await run(oracle))!;
    const actual = (await run(runner))!;
    expect(actual).toHaveLength(expected.length);
    expect(mostDifference(actual, expected)).toBeLessThan(tolerance);
    compared++;
    return expected;
  }

  beforeAll(async () => {
    runner = await load(await prepareInMemory(sourceOfBytes(tiny.bytes), { target }));
    oracle = createReferenceRunner(tiny.config, tiny.weights, SLOTS);
  });
  afterAll(() => runner.release());

  test("prompts in chunks into any slot, ragged decoding, copies between slots", async () => {
    const next: number[] = [];
    const positions: number[] = [];
    for (const [slot, prompt] of PROMPTS.entries()) {
      // 32 and more at once, and with a past: where attention takes other paths.
      const cut = Math.floor(prompt.length / 2);
      expect(await runner.prefill(slot, prompt.subarray(0, cut), 0, false)).toBeUndefined();
      await oracle.prefill(slot, prompt.subarray(0, cut), 0, false);
      next.push(argmax(await both((which) => which.prefill(slot, prompt.subarray(cut), cut, true))));
      positions.push(prompt.length);
    }
    for (let step = 0; step < 8; step++) {
      const logits = await both((which) => which.decode(Int32Array.from(next), Int32Array.from(positions)));
      for (const row of next.keys()) {
        next[row] = argmax(logits.subarray(row * 512, (row + 1) * 512));
        positions[row]!++;
      }
    }
    // Row 0 leaves: the last row moves into its slot, and the batch is smaller.
    for (const which of [runner, oracle]) await which.copySlot(2, 0, positions[2]!);
    next[0] = next.pop()!;
    positions[0] = positions.pop()!;
    await both((which) => which.decode(Int32Array.from(next), Int32Array.from(positions)));
    // A prompt with the prefix of a live slot begins where they part.
    for (const which of [runner, oracle]) await which.copySlot(1, 2, 40);
    await both((which) => which.prefill(2, Int32Array.of(7, 8, 9), 40, true));
    // A slot is used anew: what it held before is gone.
    await both((which) => which.prefill(0, Int32Array.of(4, 3, 2, 1), 0, true));
    expect(compared).toBe(3 + 8 + 3);
  });

  test("logits after every token of a chunk, with and without a past, beside what other runs need", async () => {
    const prompt = PROMPTS[1]!;
    for (const start of [0, 5, 37]) {
      await both((which) => which.prefillScored(1, prompt.subarray(start, start + 32), start));
      await both((which) => which.decode(Int32Array.of(7, 8), Int32Array.of(0, start + 32)));
    }
    await both((which) => which.prefillScored(2, prompt.subarray(0, 1), 0));
    await both((which) => which.prefill(2, prompt.subarray(1, 9), 1, true));
  });

  test("the last position of a slot works, the one behind it is refused", async () => {
    const prompt = Int32Array.from({ length: SLOTS.slotLength - 1 }, (_, i) => i % 512);
    await both((which) => which.prefill(0, prompt, 0, true));
    await both((which) => which.decode(Int32Array.of(1), Int32Array.of(SLOTS.slotLength - 1)));
    await expect(runner.decode(Int32Array.of(1), Int32Array.of(SLOTS.slotLength))).rejects.toThrow(/a position is 96/);
    await expect(runner.prefill(0, prompt, 2, true)).rejects.toThrow(/start is 2; a whole number from 0 to 1/);
    await expect(runner.prefill(3, prompt, 0, true)).rejects.toThrow(/slot is 3/);
    await expect(runner.prefill(0, Int32Array.of(512), 0, true)).rejects.toThrow(/token 512 is outside the vocabulary/);
    await expect(runner.decode(new Int32Array(4), new Int32Array(4))).rejects.toThrow(/number of rows is 4/);
    await expect(runner.copySlot(0, 1, 97)).rejects.toThrow(/length is 97/);
  });
});

test("a slot longer than the rotary tables is refused", async () => {
  const prepared = await prepareInMemory(sourceOfBytes(makeTinyGguf().bytes), { target: "f32" });
  await expect(createNativeRunner(prepared, { threads: 1, slots: 1, slotLength: 513 })).rejects.toThrow(
    /slotLength is 513; a whole number from 1 to 512/,
  );
});

test("damaged weights are an error of loading, in both providers", async () => {
  const prepared = await prepareInMemory(sourceOfBytes(makeTinyGguf().bytes), { target: "f32" });
  const damaged = { ...prepared, weights: new Uint8Array(100) };
  await expect(createNativeRunner(damaged, { threads: 1, slots: 1, slotLength: 16 })).rejects.toThrow();
  const options = { threads: 1, slots: 1, slotLength: 16 };
  await expect(createWasmRunner(prepared, options)).rejects.toThrow("prepared for f32, not for wasm");
  const own = await prepareInMemory(sourceOfBytes(makeTinyGguf().bytes), { target: "wasm" });
  await expect(createWasmRunner({ ...own, weights: new Uint8Array(100) }, options)).rejects.toThrow(
    /the weights have 100 bytes instead of \d+/,
  );
});

test.each(["native", "wasm"] as const)("%s runs in a worker thread, which can end afterwards", async (provider) => {
  const entry = `
    const { parentPort } = await import("node:worker_threads");
    const { makeTinyGguf } = await import(${JSON.stringify(import.meta.resolve("../../support/tiny-gguf.ts"))});
    const { sourceOfBytes } = await import(${JSON.stringify(import.meta.resolve("../../../engine/gguf/source.ts"))});
    const { prepareInMemory } = await import(${JSON.stringify(import.meta.resolve("../../../engine/prepare.ts"))});
    const providers = await import(${JSON.stringify(import.meta.resolve(`../../../engine/providers/${provider}.ts`))});
    const load = providers.createNativeRunner ?? providers.createWasmRunner;
    const { startNodeThread } = await import(${JSON.stringify(import.meta.resolve("../../../engine/node/team-threads.ts"))});
    const prepared = await prepareInMemory(sourceOfBytes(makeTinyGguf().bytes), { target: "${provider}" });
    const runner = await load(prepared, { threads: 2, slots: 1, slotLength: 32, startThread: startNodeThread });
    const logits = await runner.prefill(0, Int32Array.of(1, 2, 3), 0, true);
    parentPort.postMessage(logits.length);
    await runner.release();
    process.exit(0);`;
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(entry)}`));
  const ended = new Promise<number>((resolve) => worker.once("exit", resolve));
  const answer = await new Promise((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("error", reject);
  });
  expect(answer).toBe(512);
  expect(await ended).toBe(0);
});
