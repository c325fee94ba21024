/** Every architecture through ONNX Runtime Web's WebGPU provider on SwiftShader, against the plain f32 oracle. */
import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { test } from "vitest";
import { browserKitProblem, swiftshaderEnv } from "../support/browser-kit.ts";
import { expectClose, oracleLogits } from "../support/expected-logits.ts";
import { SHORT_SCRIPT } from "../support/scripted-logits.ts";
import { makeTinyGguf } from "../support/tiny-gguf.ts";

const GPU_MAIN = fileURLToPath(new URL("../support/gpu-logits-main.ts", import.meta.url));
const GPU_KINDS = ["llama3", "qwen2", "qwen3", "gemma3", "phi3", "phi4", "partial"] as const;
/** Two minutes of a CPU, most of them for compiling shaders; ten on a busy machine. */
const TIMEOUT_MS = 20 * 60_000;

const problem = browserKitProblem();
test.skipIf(problem)(
  `the other architectures through WebGPU on SwiftShader${problem ? ` (skipped: ${problem})` : ""}`,
  { timeout: TIMEOUT_MS },
  async () => {
    const folder = await mkdtemp(join(tmpdir(), "skein-architectures-"));
    try {
      const files = await Promise.all(
        GPU_KINDS.map(async (kind) => {
          const path = join(folder, `${kind}.gguf`);
          await writeFile(path, makeTinyGguf({ kind }).bytes);
          return path;
        }),
      );
      const { stdout } = await promisify(execFile)(process.execPath, [GPU_MAIN, ...files], {
        env: await swiftshaderEnv(),
        timeout: TIMEOUT_MS,
        maxBuffer: 64 * 1024 * 1024,
      });
      const answers = JSON.parse(stdout) as string[][];
      for (const [i, kind] of GPU_KINDS.entries()) {
        const logits = answers[i]!.map((text) => new Float32Array(Uint8Array.from(Buffer.from(text, "base64")).buffer));
        expectClose(logits, await oracleLogits(kind, "F32", SHORT_SCRIPT), 5e-3);
      }
    } finally {
      await rm(folder, { recursive: true });
    }
  },
);
