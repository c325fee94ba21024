/** Every tensor format in every form, as a graph of one operator on the CPU provider, against plain arithmetic on dequantised values. */
import * as ort from "onnxruntime-node";
import { describe, expect, test } from "vitest";
import { dequantise } from "../../../engine/gguf/dequantise.ts";
import { BLOCK_LAYOUTS, type TensorFormat } from "../../../engine/gguf/format.ts";
import { emitEmbedding } from "../../../engine/onnx/embedding.ts";
import { GraphBuilder, WEIGHTS_FILE } from "../../../engine/onnx/graph.ts";
import { emitLinear } from "../../../engine/onnx/linear.ts";
import { matrixOf } from "../../../engine/onnx/matrix.ts";
import { dialectOf, formOf, type Target } from "../../../engine/onnx/target.ts";
import { makePart } from "../../../engine/prepare.ts";
import { sourceOfBytes } from "../../../engine/gguf/source.ts";
import { seededRandom } from "../../support/random.ts";
import { randomTensor } from "../../support/random-tensor.ts";

const ROWS = 48;
const COLUMNS = 512;
const FORMATS = Object.keys(BLOCK_LAYOUTS) as TensorFormat[];
async function run(graph: GraphBuilder, bytes: Uint8Array, feeds: Record<string, ort.Tensor>): Promise<Float32Array> {
  const { graph: model, layout } = graph.finish();
  const data = new Uint8Array(layout.byteLength);
  for (const part of layout.parts) data.set(await makePart(part, sourceOfBytes(bytes)), part.offset);
  const session = await ort.InferenceSession.create(model, { externalData: [{ path: WEIGHTS_FILE, data }] });
  const { y } = await session.run(feeds);
  await session.release();
  return y!.data as Float32Array;
}

const tensorOf = (format: TensorFormat, bytes: Uint8Array) =>
  matrixOf({ name: "w", format, shape: [ROWS, COLUMNS], offset: 0, byteLength: bytes.byteLength }, ROWS, COLUMNS);

process.env["ORT_DISABLE_TELEMETRY"] = "1";

describe.each(FORMATS)("%s", (format) => {
  const bytes = randomTensor(format, ROWS * COLUMNS);
  const weights = dequantise(format, bytes);

  test.each([
    // Level 4 rounds the inputs to eight bits: 1/254 of the largest of a block, over 512 products.
    { target: "native", level: 4, tolerance: 0.25 },
    { target: "native", level: 0, tolerance: 2e-4 },
    { target: "webgpu", level: 0, tolerance: 2e-4 },
    { target: "wasm", level: 0, tolerance: 2e-4 },
  ] satisfies readonly { target: Target; level: number; tolerance: number }[])(
    "multiplied as for $target at level $level",
    async ({ target, level, tolerance }) => {
      const matrix = tensorOf(format, bytes);
      const form = formOf(target, matrix, 100_000_000);
      const graph = new GraphBuilder();
      graph.input("x", "float32", ["batch", "sequence", COLUMNS]);
      emitLinear(graph, { name: "w", x: "x", y: "y", matrix, form, accuracyLevel: level });
      graph.output("y", "float32", ["batch", "sequence", ROWS]);
      const random = seededRandom(3);
      const x = Float32Array.from({ length: 2 * COLUMNS }, () => 2 * random() - 1);
      const y = await run(graph, bytes, { x: new ort.Tensor("float32", x, [1, 2, COLUMNS]) });
      // Rounding to int8 errs by half a 127th of the largest weight at most, at random in every product.
      const exact = form !== "int8" || ["Q8_0", "I8_0", "Q5_0", "Q4_0"].includes(format);
      const rounding = exact ? 0 : Math.sqrt(COLUMNS) * (weights.reduce((m, w) => Math.max(m, Math.abs(w)), 0) / 127);
      let spread = 0;
      for (let row = 0; row < 2; row++) {
        for (let n = 0; n < ROWS; n++) {
          let expected = 0;
          for (let k = 0; k < COLUMNS; k++) expected += x[row * COLUMNS + k]! * weights[n * COLUMNS + k]!;
          expect(Math.abs(y[row * ROWS + n]! - expected)).toBeLessThan(tolerance + rounding);
          spread = Math.max(spread, Math.abs(expected));
        }
      }
      expect(spread).toBeGreaterThan(3);
    },
  );

  test.each(["native", "webgpu"] as const)("looked up as for %s, exactly", async (target) => {
    const graph = new GraphBuilder();
    graph.input("ids", "int64", ["batch", "sequence"]);
    const name = emitEmbedding(graph, tensorOf(format, bytes), "ids", dialectOf(target));
    graph.node("Identity", [name], ["y"]);
    graph.output("y", "float32", ["batch", "sequence", COLUMNS]);
    const ids = [5, 0, ROWS - 1];
    const y = await run(graph, bytes, { ids: new ort.Tensor("int64", BigInt64Array.from(ids, BigInt), [1, 3]) });
    ids.forEach((id, row) => {
      for (let k = 0; k < COLUMNS; k++) expect(y[row * COLUMNS + k]).toBeCloseTo(weights[id * COLUMNS + k]!, 5);
    });
  });
});
