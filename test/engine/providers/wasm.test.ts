/** The wasm provider's own promises: the same bits however a sequence is computed, threads that cost nothing, ends that are told. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import fc from "fast-check";
import { expect, test } from "vitest";
import { sourceOfBytes } from "../../../engine/gguf/source.ts";
import { layOut } from "../../../engine/kernels/decoder-memory.ts";
import { controlOf, controlWords, lead } from "../../../engine/kernels/team.ts";
import type { StartTeamThread } from "../../../engine/kernels/team-thread.ts";
import { startNodeThread } from "../../../engine/node/team-threads.ts";
import { prepareInMemory, type PreparedModel } from "../../../engine/prepare.ts";
import { kvLayout } from "../../../engine/providers/kv.ts";
import { createWasmRunner } from "../../../engine/providers/wasm.ts";
import type { Runner } from "../../../engine/types.ts";
import type { GgufFormat } from "../../support/gguf-writer.ts";
import { makeTinyGguf } from "../../support/tiny-gguf.ts";
import { TINY_CONFIGS, type TinyKind } from "../../support/tiny-model.ts";
import type { ThreadCounts } from "../../support/wasm-threads-main.ts";

const SLOTS = 6;
const SLOT_LENGTH = 440;
const prepare = (kind: TinyKind, format: GgufFormat): Promise<PreparedModel> =>
  prepareInMemory(sourceOfBytes(makeTinyGguf({ kind, format }).bytes), { target: "wasm", slotLength: SLOT_LENGTH });
const run = (prepared: PreparedModel, threads: number, slots = SLOTS, startThread = startNodeThread): Promise<Runner> =>
  createWasmRunner(prepared, { threads, slots, slotLength: SLOT_LENGTH, startThread });

/** Lengths on both sides of a tile, of the windows and of what one step takes. */
const SEQUENCES = [3, 130, 70, 1, 300, 17].map((length, row) =>
  Int32Array.from({ length: length + 4 }, (_, i) => (17 * i + 5 * row + 3) % 512),
);
const AHEAD = 4;

/** Logits after each of a sequence's last tokens, computed alone: the prompt at once, then token by token. */
async function alone(runner: Runner, tokens: Int32Array): Promise<Float32Array[]> {
  const prompt = tokens.length - AHEAD;
  const logits = [(await runner.prefill(0, tokens.subarray(0, prompt), 0, true))!.slice()];
  for (let at = prompt; at < tokens.length; at++)
    logits.push((await runner.decode(tokens.subarray(at, at + 1), Int32Array.of(at))).slice());
  return logits;
}

test.each([
  ["llama", "Q4_1"],
  ["gemma3", "Q8_0"],
  ["qwen2", "F32"],
] as const)("%s, %s: batches, chunks, copies and threads change no bit", async (kind, format) => {
  const prepared = await prepare(kind, format);
  const single = await run(prepared, 1);
  const expected: Float32Array[][] = [];
  for (const tokens of SEQUENCES) expected.push(await alone(single, tokens));
  await single.release();
  for (const threads of [1, 2, 3]) {
    const runner = await run(prepared, threads);
    const { vocabulary } = runner.config;
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 1, max: 97 }), { minLength: 1, maxLength: 8 }),
        fc.shuffledSubarray([...SEQUENCES.keys()], { minLength: 2 }),
        async (chunks, rows) => {
          const same = (actual: Float32Array, row: number, step: number): void =>
            expect(Buffer.compare(Buffer.from(actual.slice().buffer), Buffer.from(expected[row]![step]!.buffer))).toBe(
              0,
            );
          for (const [slot, row] of rows.entries()) {
            const prompt = SEQUENCES[row]!.subarray(0, -AHEAD);
            for (let at = 0, i = 0; at < prompt.length; i++) {
              const end = Math.min(prompt.length, at + chunks[i % chunks.length]!);
              const logits = await runner.prefill(slot, prompt.subarray(at, end), at, end === prompt.length);
              if (logits) same(logits, row, 0);
              at = end;
            }
          }
          for (let step = 0; step < AHEAD; step++) {
            const at = rows.map((row) => SEQUENCES[row]!.length - AHEAD + step);
            const tokens = Int32Array.from(rows, (row, slot) => SEQUENCES[row]![at[slot]!]!);
            const logits = await runner.decode(tokens, Int32Array.from(at));
            rows.forEach((row, slot) =>
              same(logits.subarray(slot * vocabulary, (slot + 1) * vocabulary), row, step + 1),
            );
            // Two of them change places: the second goes where the first was, and back.
            if (step === 1 && rows.length < SLOTS) {
              const [first, second] = [SEQUENCES[rows[0]!]!.length, SEQUENCES[rows[1]!]!.length];
              await runner.copySlot(0, SLOTS - 1, first);
              await runner.copySlot(1, 0, second);
              await runner.copySlot(SLOTS - 1, 1, first);
              [rows[0], rows[1]] = [rows[1]!, rows[0]!];
            }
          }
        },
      ),
      { numRuns: 4, seed: 5 },
    );
    await runner.release();
  }
});

test("more rows than a step takes", async () => {
  const prepared = await prepare("llama", "Q8_0");
  const runner = await createWasmRunner(prepared, { threads: 1, slots: 300, slotLength: 8 });
  const tokens = Int32Array.from({ length: 300 }, (_, i) => i % 100);
  const then = tokens.map((token) => token + 100);
  await runner.decode(tokens, new Int32Array(300));
  const logits = (await runner.decode(then, new Int32Array(300).fill(1))).slice();
  for (const row of [0, 99, 255, 256, 299]) {
    const single = await runner.prefill(0, Int32Array.of(tokens[row]!, then[row]!), 0, true);
    expect(Buffer.from(single!.slice().buffer)).toEqual(Buffer.from(logits.slice(row * 512, (row + 1) * 512).buffer));
  }
  await runner.release();
});

test("addresses beyond 2 GiB", async () => {
  const prepared = await prepare("gemma3", "Q8_0");
  // 3.2 GB of slots, of which those that are used are touched.
  const runner = await run(prepared, 1, 4_096);
  const tokens = Int32Array.from({ length: 50 }, (_, i) => 3 * i);
  const near = (await runner.prefill(0, tokens, 0, true))!.slice();
  const far = (await runner.prefill(4_095, tokens, 0, true))!.slice();
  expect(Buffer.from(far.buffer)).toEqual(Buffer.from(near.buffer));
  await runner.copySlot(4_095, 1, 40);
  const copied = (await runner.prefill(1, tokens.subarray(40), 40, true))!;
  expect(Buffer.from(copied.slice().buffer)).toEqual(Buffer.from(near.buffer));
  await runner.release();
});

test("values that are no numbers are handed on, for the loop to see", async () => {
  const prepared = await prepare("llama", "Q8_0");
  const weights = (prepared.weights as Uint8Array).slice();
  const { outputNorm } = JSON.parse(new TextDecoder().decode(prepared.graph)) as { outputNorm: number };
  new DataView(weights.buffer).setFloat32(outputNorm, NaN, true);
  const runner = await run({ ...prepared, weights }, 1);
  const logits = await runner.prefill(0, Int32Array.of(1), 0, true);
  expect(logits!.some((value) => Number.isFinite(value))).toBe(false);
  await runner.release();
});

test("a thread that never comes keeps nobody waiting; one that ends makes an end of the model, with its reason", async () => {
  const prepared = await prepare("llama", "Q8_0");
  let tell: (reason: string) => void = () => {};
  let ended = 0;
  const startThread: StartTeamThread = () => ({
    onEnd: (handler) => (tell = handler),
    terminate: async () => void ended++,
  });
  const runner = await run(prepared, 2, SLOTS, startThread);
  expect(await runner.prefill(0, Int32Array.of(1, 2, 3), 0, true)).toHaveLength(512);
  tell("out of memory");
  expect(await runner.lost).toBe("a thread of the wasm provider ended: out of memory");
  await expect(runner.decode(Int32Array.of(1), Int32Array.of(3))).rejects.toThrow("ended: out of memory");
  await runner.release();
  expect(ended).toBe(1);
  await expect(runner.decode(Int32Array.of(1), Int32Array.of(3))).rejects.toThrow("was released");
});

test("a thread that can't start says why", async () => {
  const thread = startNodeThread({ modules: [], memory: { buffer: new SharedArrayBuffer(8) } } as never, 1);
  expect(await new Promise((resolve) => thread.onEnd(resolve))).toContain("Cannot read properties");
});

test("a thread that stands still with a part of a step is an error, not a wait without an end", () => {
  const control = controlOf(new SharedArrayBuffer(4 * controlWords(1)), 0, 1);
  let done = 0;
  const phase = {
    parts: () => 2,
    run() {
      done++;
      // Somebody else takes the other part.
      Atomics.add(control, controlWords(0), 1);
    },
  };
  expect(() => lead(control, [phase], 2)).toThrow("a thread of the wasm provider keeps its part");
  expect(done).toBe(1);
});

test("what doesn't fit is refused by what it takes", () => {
  const config = { ...TINY_CONFIGS.llama, layers: 26, kvHeads: 8, headDim: 128, embedding: 2_048 };
  const options = { threads: 2, slots: 8, slotLength: 4_096 };
  const shape = { config, weightBytes: 2_000_000_000, threads: 2, rotations: 1, controlWords: 100 };
  expect(() => layOut({ ...shape, kv: kvLayout(config, options) })).toThrow(
    /^the model takes 8993 MB on wasm \(2000 MB of weights, 6980 MB of keys and values in 8 slots of 4096 tokens\), and WebAssembly addresses 4295 MB: use fewer or shorter slots/,
  );
  expect(layOut({ ...shape, kv: kvLayout(config, { ...options, slots: 2 }) }).pages).toBeLessThan(65_536);
});

test.runIf(process.platform === "linux")("threads use no time while nothing runs, and none is left", async () => {
  const main = fileURLToPath(new URL("../../support/wasm-threads-main.ts", import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, [main], { timeout: 60_000 });
  const { idleCpuMs, before, loaded, released, terminated } = JSON.parse(stdout) as ThreadCounts;
  // Two that spin would use two seconds, had they the machine for themselves; three hundred milliseconds on a crowded one.
  expect(idleCpuMs).toBeLessThan(150);
  expect(loaded).toBeGreaterThanOrEqual(before + 3);
  expect([released, terminated]).toEqual([before, before]);
});
