/** Weights of four and eight bits through ONNX Runtime Web's WebGPU provider on SwiftShader, against the f32 oracle of what they mean. */
import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { sourceOfBytes } from "../../engine/gguf/source.ts";
import { planPreparation } from "../../engine/prepare.ts";
import { browserKitProblem, swiftshaderEnv } from "../support/browser-kit.ts";
import { expectClose, oracleLogits } from "../support/expected-logits.ts";
import { SHORT_SCRIPT } from "../support/scripted-logits.ts";
import { makeTinyGguf } from "../support/tiny-gguf.ts";

const GPU_MAIN = fileURLToPath(new URL("../support/gpu-logits-main.ts", import.meta.url));
const FORMATS = ["Q4_0", "Q8_0"] as const;
const TIMEOUT_MS = 20 * 60_000;

const problem = browserKitProblem();
test.skipIf(problem)(
  `Q4_0 and Q8_0 through WebGPU on SwiftShader${problem ? ` (skipped: ${problem})` : ""}`,
  { timeout: TIMEOUT_MS },
  async () => {
    const models = FORMATS.map((format) => makeTinyGguf({ format }).bytes);
    const sizes = models.map(async (bytes) => {
      const { layout } = await planPreparation(sourceOfBytes(bytes), { target: "webgpu" });
      return layout.byteLength;
    });
    const [four = 0, eight = 0] = await Promise.all(sizes);
    // Half a byte a weight for one, a byte for the other; embedding and head are alike.
    expect(four).toBeLessThan(eight);
    const folder = await mkdtemp(join(tmpdir(), "skein-nbits-"));
    try {
      const files = FORMATS.map((format) => join(folder, `${format}.gguf`));
      for (const [i, file] of files.entries()) await writeFile(file, models[i]!);
      const { stdout } = await promisify(execFile)(process.execPath, [GPU_MAIN, ...files], {
        env: await swiftshaderEnv(),
        timeout: TIMEOUT_MS,
        maxBuffer: 64 * 1024 * 1024,
      });
      const answers = (JSON.parse(stdout) as string[][]).map((logits) =>
        logits.map((text) => new Float32Array(Uint8Array.from(Buffer.from(text, "base64")).buffer)),
      );
      // The provider doesn't round the inputs of so small matrices, so only the weights' form can make a difference.
      for (const [i, format] of FORMATS.entries())
        expectClose(answers[i]!, await oracleLogits("llama", format, SHORT_SCRIPT), 5e-3);
    } finally {
      await rm(folder, { recursive: true });
    }
  },
);
