/** An encoder on WebGPU (SwiftShader) against plain arithmetic, and a graph that falls back to the CPU in part, which is told by name. */
import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { referenceEmbedding } from "../../engine/reference/encoder.ts";
import { browserKitProblem, swiftshaderEnv } from "../support/browser-kit.ts";
import type { GpuGraphs } from "../support/gpu-graphs-main.ts";
import { makeTinyEncoder, TINY_ENCODER } from "../support/tiny-encoder.ts";
import { determinantGraph, writeRepository } from "../support/tiny-onnx.ts";

const MAIN = fileURLToPath(new URL("../support/gpu-graphs-main.ts", import.meta.url));
const TIMEOUT_MS = 10 * 60_000;
/** "the river", "A stone, a mesh." and "a", with what is put around them. */
const IDS = [
  [2, 4, 5, 3],
  [2, 6, 7, 14, 6, 12, 15, 3],
  [2, 6, 3],
];

const problem = browserKitProblem();
test.skipIf(problem)(
  `graphs through WebGPU on SwiftShader${problem ? ` (skipped: ${problem})` : ""}`,
  { timeout: TIMEOUT_MS },
  async () => {
    const folder = await mkdtemp(join(tmpdir(), "skein-gpu-graphs-"));
    try {
      const { contents, weights } = makeTinyEncoder();
      const encoder = await writeRepository(join(folder, "encoder"), contents);
      const file = join(folder, "determinant.onnx");
      await writeFile(file, determinantGraph());
      const { stdout, stderr } = await promisify(execFile)(
        process.execPath,
        [MAIN, join(folder, "cache"), encoder, file],
        { env: await swiftshaderEnv(), timeout: TIMEOUT_MS },
      );
      const { vectors, encoderOnCpu, determinant, determinantOnCpu, decoder } = JSON.parse(stdout) as GpuGraphs;
      expect(vectors).toHaveLength(3);
      for (const [i, ids] of IDS.entries()) {
        const expected = referenceEmbedding(TINY_ENCODER, weights, ids);
        expect(Math.max(...expected.map((value, c) => Math.abs(value - vectors[i]![c]!)))).toBeLessThan(1e-4);
      }
      expect(encoderOnCpu).toEqual([]);
      expect(determinant[0]).toBeCloseTo(64, 3);
      expect(determinantOnCpu).toEqual(["Det (Det:determinant)"]);
      expect(decoder).toBe("Error: the GPU has no kernel for Det (Det:determinant)");
      // The log that was read for this is nobody else's.
      expect(stderr).not.toContain("VerifyEachNode");
    } finally {
      await rm(folder, { recursive: true });
    }
  },
);
