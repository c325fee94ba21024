/**
 * A child process for tests: runs the script of steps on each GGUF file by WebGPU and prints the logits as one JSON line of base64. A
 * process of its own because SwiftShader must be in the environment before the start. argv: GGUF files.
 */
import { readFile } from "node:fs/promises";
import { sourceOfBytes } from "../../engine/gguf/source.ts";
import { prepareInMemory } from "../../engine/prepare.ts";
import { nodeGpu } from "../../engine/providers/node-gpu.ts";
import { createWebgpuRunner } from "../../engine/providers/webgpu.ts";
import { SCRIPT_SLOTS, scriptedLogits, SHORT_SCRIPT } from "./scripted-logits.ts";

const answers: string[][] = [];
for (const file of process.argv.slice(2)) {
  const prepared = await prepareInMemory(sourceOfBytes(new Uint8Array(await readFile(file))), {
    target: "webgpu",
    slotLength: SCRIPT_SLOTS.slotLength,
  });
  const runner = await createWebgpuRunner(prepared, {
    ...SCRIPT_SLOTS,
    threads: 1,
    gpu: await nodeGpu(),
    allowSoftwareGpu: true,
  });
  const logits = await scriptedLogits(runner, SHORT_SCRIPT);
  answers.push(logits.map(({ buffer }) => Buffer.from(buffer).toString("base64")));
  await runner.release();
}
process.stdout.write(`${JSON.stringify(answers)}\n`, () => process.exit(0));
