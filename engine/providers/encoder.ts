/** An encoder's graph in ONNX Runtime: the add-on in Node, or ONNX Runtime Web. Both have the same interface. */
import type { InferenceSession, Tensor } from "onnxruntime-node";
import type { EncoderRun } from "../embedder.ts";
import { WEIGHTS_FILE } from "../onnx/graph.ts";
import type { EmittedEncoder } from "../onnx/encoder.ts";

/** What is used of either package. */
export interface EncoderRuntime {
  readonly InferenceSession: {
    create(model: Uint8Array, options: InferenceSession.SessionOptions): Promise<InferenceSession>;
  };
  readonly Tensor: new (
    type: "int64" | "float32",
    data: BigInt64Array | Float32Array,
    dims: readonly number[],
  ) => Tensor;
}

export interface EncoderOptions {
  readonly provider: "cpu" | "wasm";
  /** Of the provider's own pool, including the caller's. */
  readonly threads: number;
}

/** Loads an encoder; `weights` are those of its layout. Calls of what it gives must not overlap. */
export async function createEncoder(
  runtime: EncoderRuntime,
  { graph, config }: Pick<EmittedEncoder, "graph" | "config">,
  weights: Uint8Array,
  { provider, threads }: EncoderOptions,
): Promise<{ readonly run: EncoderRun; release(): Promise<void> }> {
  const session = await runtime.InferenceSession.create(graph, {
    executionProviders: [provider],
    graphOptimizationLevel: "all",
    intraOpNumThreads: threads,
    enableMemPattern: false,
    externalData: [{ path: WEIGHTS_FILE, data: weights }],
    logSeverityLevel: 3,
  });
  return {
    async run({ rows, sequence, ids, mask }) {
      const positions = BigInt64Array.from({ length: sequence }, (_, i) => BigInt(i));
      const { embedding } = await session.run({
        input_ids: new runtime.Tensor("int64", BigInt64Array.from(ids, BigInt), [rows, sequence]),
        positions: new runtime.Tensor("int64", positions, [1, sequence]),
        mask: new runtime.Tensor("float32", mask, [rows, sequence]),
      });
      const values = embedding!.data as Float32Array;
      if (values.length !== rows * config.embedding)
        throw new Error(`the graph gave ${values.length} values for ${rows} texts`);
      return values;
    },
    release: () => session.release(),
  };
}
