/**
 * Checks a GPU's attention against plain arithmetic before it may serve: prompts in chunks with a past, then one token. Found need:
 * on devices with `subgroups` of size 4 ONNX Runtime's kernel for 32 and more tokens gives wrong results.
 */
import { GraphBuilder } from "../onnx/graph.ts";
import { prf } from "../prf.ts";
import { type AttentionShape, attend, rotate } from "../reference/attention.ts";
import type { GpuRuntime } from "./ort-webgpu.ts";

const THETA = 10_000;
const POSITIONS = 128;
/** Chunk lengths, one after another in the same slot: both sides of 32, with and without a past, then decoding. */
const CHUNKS = [33, 64, 1];
/** Values are about 1; f32 kernels err by 1e-5, the wrong ones by 0.1 and more. */
const TOLERANCE = 5e-3;

export interface SelfTestResult {
  readonly isExact: boolean;
  readonly worstError: number;
}

/**
 * Runs the test on the device with the attention of the model that it is to serve: kernels are specialised for its sizes, and those
 * compiled here are used again.
 */
export async function selfTest(gpu: GpuRuntime, shape: AttentionShape): Promise<SelfTestResult> {
  const { heads, kvHeads, headDim } = shape;
  const session = await gpu.createSession(attentionGraph(shape), undefined, ["present_key", "present_value"]);
  const kvShape = [1, kvHeads, POSITIONS, headDim];
  const kvBytes = kvHeads * POSITIONS * headDim * 4;
  const buffers = [gpu.buffer(kvBytes), gpu.buffer(kvBytes)] as const;
  const oracle = new Oracle(shape);
  let worstError = 0;
  try {
    for (const [index, length] of CHUNKS.entries()) {
      const values = (seed: number, width: number): Float32Array =>
        Float32Array.from({ length: length * width }, (_, i) => 2 * prf(seed, index * 1_000_000 + i) - 1);
      const query = values(1, heads * headDim);
      const key = values(2, kvHeads * headDim);
      const value = values(3, kvHeads * headDim);
      const expected = oracle.chunk(query, key, value, length);
      const [pastKey, pastValue] = buffers.map((buffer) => gpu.overBuffer(buffer, kvShape)) as [never, never];
      const outputs = await session.run(
        {
          query: gpu.float32(query, [1, length, heads * headDim]),
          key: gpu.float32(key, [1, length, kvHeads * headDim]),
          value: gpu.float32(value, [1, length, kvHeads * headDim]),
          past_key: pastKey,
          past_value: pastValue,
          last_position: gpu.int32(Int32Array.of(oracle.length - 1), [1]),
          total_length: gpu.int32(Int32Array.of(oracle.length), [1]),
        },
        { attended: null, present_key: pastKey, present_value: pastValue },
      );
      const actual = (await outputs["attended"]!.getData()) as Float32Array;
      outputs["attended"]!.dispose();
      for (let i = 0; i < expected.length; i++) {
        // NaN stays NaN, and is not within any tolerance.
        worstError = Math.max(worstError, Math.abs(actual[i]! - expected[i]!));
      }
    }
  } finally {
    await session.release();
    for (const buffer of buffers) buffer.destroy();
  }
  return { isExact: worstError <= TOLERANCE, worstError };
}

function attentionGraph({ heads, kvHeads, headDim }: AttentionShape): Uint8Array {
  const graph = new GraphBuilder();
  graph.input("query", "float32", ["batch", "sequence", heads * headDim]);
  for (const name of ["key", "value"]) graph.input(name, "float32", ["batch", "sequence", kvHeads * headDim]);
  for (const name of ["past_key", "past_value"]) graph.input(name, "float32", ["batch", kvHeads, "positions", headDim]);
  graph.input("last_position", "int32", ["batch"]);
  graph.input("total_length", "int32", [1]);
  const half = headDim / 2;
  const angles = Float64Array.from(
    { length: POSITIONS * half },
    (_, i) => Math.floor(i / half) / Math.pow(THETA, (2 * (i % half)) / headDim),
  );
  const cos = graph.constant("cos", "float32", [POSITIONS, half], Float32Array.from(angles, Math.cos));
  const sin = graph.constant("sin", "float32", [POSITIONS, half], Float32Array.from(angles, Math.sin));
  graph.contrib(
    "GroupQueryAttention",
    ["query", "key", "value", "past_key", "past_value", "last_position", "total_length", cos, sin],
    ["attended", "present_key", "present_value"],
    { num_heads: heads, kv_num_heads: kvHeads, do_rotary: 1 },
  );
  graph.output("attended", "float32", ["batch", "sequence", heads * headDim]);
  for (const name of ["present_key", "present_value"])
    graph.output(name, "float32", ["batch", kvHeads, "positions", headDim]);
  return graph.finish().graph;
}

/** The same sequence in plain arithmetic, one token after another. */
class Oracle {
  readonly #shape: AttentionShape;
  readonly #keys: Float32Array;
  readonly #values: Float32Array;
  length = 0;

  constructor(shape: AttentionShape) {
    this.#shape = shape;
    this.#keys = new Float32Array(POSITIONS * shape.kvHeads * shape.headDim);
    this.#values = this.#keys.slice();
  }

  chunk(query: Float32Array, key: Float32Array, value: Float32Array, count: number): Float32Array {
    const { heads, kvHeads, headDim } = this.#shape;
    const width = heads * headDim;
    const kvWidth = kvHeads * headDim;
    const out = new Float32Array(count * width);
    for (let i = 0; i < count; i++) {
      const position = this.length++;
      const q = withNeighbouringPairs(query.subarray(i * width, (i + 1) * width), headDim);
      const k = withNeighbouringPairs(key.subarray(i * kvWidth, (i + 1) * kvWidth), headDim);
      rotate(q, headDim, position, THETA);
      rotate(k, headDim, position, THETA);
      this.#keys.set(k, position * kvWidth);
      this.#values.set(value.subarray(i * kvWidth, (i + 1) * kvWidth), position * kvWidth);
      out.set(attend(q, this.#keys, this.#values, this.length, this.#shape), i * width);
    }
    return out;
  }
}

/** The operator rotates i with i + headDim / 2, the oracle neighbours; the order within a head doesn't matter to the scores. */
function withNeighbouringPairs(x: Float32Array, headDim: number): Float32Array {
  const half = headDim / 2;
  return x.map((_, i) => {
    const inHead = i % headDim;
    return x[i - inHead + Math.floor(inHead / 2) + (inHead % 2) * half]!;
  });
}
