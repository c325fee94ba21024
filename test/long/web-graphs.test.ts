/** Graphs in a tab's engine on WebGPU (SwiftShader): an encoder against plain arithmetic, and a node that is left to the CPU. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { referenceEmbedding } from "../../engine/reference/encoder.ts";
import { browserKitProblem } from "../support/browser-kit.ts";
import { makeTinyEncoder, TINY_ENCODER } from "../support/tiny-encoder.ts";
import { determinantGraph, onnxEncoder } from "../support/tiny-onnx.ts";
import { WebEngine } from "../support/web-engine.ts";

const problem = browserKitProblem();
describe.skipIf(problem)(`graphs in a tab${problem ? ` (skipped: ${problem})` : ""}`, () => {
  let engine: WebEngine;
  beforeAll(async () => void (engine = await WebEngine.start()), 120_000);
  afterAll(() => engine?.stop());

  test("an encoder, emitted or as ONNX", { timeout: 600_000 }, async () => {
    const { contents, weights } = makeTinyEncoder();
    const onnx = await onnxEncoder();
    const runs = [
      await engine.runGraph("webgpu", contents, null, ["the river", "a"]),
      await engine.runGraph("webgpu", onnx, "onnx/model.onnx", ["the river", "a"]),
    ];
    const ids = [
      [2, 4, 5, 3],
      [2, 6, 3],
    ];
    for (const { loaded, rows } of runs) {
      expect(loaded).toMatchObject({ kind: "graph", provider: "webgpu", cpuNodes: [] });
      for (const [i, row] of rows.entries()) {
        const expected = referenceEmbedding(TINY_ENCODER, weights, ids[i]!);
        expect(Math.max(...row.map((value, c) => Math.abs(value - expected[c]!)))).toBeLessThan(1e-4);
      }
    }
  });

  test("a node that the GPU leaves to the CPU is named", { timeout: 300_000 }, async () => {
    const files = new Map([["x.onnx", determinantGraph()]]);
    const { loaded, rows } = await engine.runGraph("webgpu", files, "x.onnx", [[1, 2, 3, 4]]);
    expect(rows[0]![0]).toBeCloseTo(64, 3);
    expect(loaded.cpuNodes).toEqual(["Det (Det:determinant)"]);
  });
});
