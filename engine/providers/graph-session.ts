/** Any graph in ONNX Runtime on a CPU, in Node: the add-on, or ONNX Runtime Web on WASM. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { InferenceSession, Tensor } from "onnxruntime-node";
import type { PreparedGraph } from "../graph-model.ts";
import type { TensorType, TensorValue, Tensors } from "../tensor.ts";
import type { ProviderName } from "../types.ts";
import { samplesOf, type Shapes } from "../graph-sample.ts";
import { loadNativeRuntime } from "./native.ts";

export interface GraphSession {
  readonly provider: ProviderName;
  /** Nodes that run on the CPU although the provider is a GPU, as `operator (name)`. */
  readonly cpuNodes: readonly string[];
  /** Calls must not overlap. */
  run(feeds: Tensors): Promise<Tensors>;
  /** Resolves with a reason when the device is gone; absent where there is none to lose. */
  readonly lost?: Promise<string>;
  release(): Promise<void>;
}

export interface GraphSessionOptions {
  /** Of the provider's own pool, including the caller's. */
  readonly threads: number;
  /** Take an adapter that computes on the CPU. */
  readonly allowSoftwareGpu: boolean;
  /** Shapes of the inputs that are run before it serves. */
  readonly warmUp: readonly Shapes[];
}

/** What is used of either package. */
interface Runtime {
  readonly Tensor: new (type: never, data: never, dims: readonly number[]) => Tensor;
}

/** Of every session. */
export const BASE: InferenceSession.SessionOptions = {
  graphOptimizationLevel: "all",
  // Shapes change from run to run: a pattern would be planned anew for each.
  enableMemPattern: false,
  logSeverityLevel: 3,
};

/** In the add-on, from the folder: the weights never pass through JavaScript. */
export async function createNativeSession(graph: PreparedGraph, options: GraphSessionOptions): Promise<GraphSession> {
  const { directory, file } = graph;
  const runtime = await loadNativeRuntime();
  forgetHalfFloats(runtime.Tensor);
  const session = await runtime.InferenceSession.create(join(directory, file), {
    ...BASE,
    executionProviders: ["cpu"],
    intraOpNumThreads: options.threads,
    interOpNumThreads: 1,
    // As in native.ts.
    extra: { session: { intra_op: { allow_spinning: "0" } } },
  });
  return warmedUp({ provider: "native", cpuNodes: [], ...runs(runtime as never, session) }, graph, options);
}

/**
 * The add-on can't read Float16Array (1.30: "not enough space"). The package asks once, at its first tensor, whether there is one, and
 * keeps half floats in Uint16Array where there is none.
 */
function forgetHalfFloats(Tensor: new (type: "float32", data: Float32Array, dims: readonly number[]) => unknown): void {
  const scope = globalThis as { Float16Array?: unknown };
  const known = scope.Float16Array;
  scope.Float16Array = undefined;
  new Tensor("float32", new Float32Array(1), [1]);
  scope.Float16Array = known;
}

/** In ONNX Runtime Web's WASM provider. */
export async function createWasmSession(graph: PreparedGraph, options: GraphSessionOptions): Promise<GraphSession> {
  const runtime = await import("onnxruntime-web");
  runtime.env.wasm.numThreads = options.threads;
  const { directory, file, external } = graph;
  const model = await readBytes(directory, file);
  const externalData = await Promise.all(
    external.map(async (path) => ({ path, data: await readBytes(directory, path) })),
  );
  const session = await runtime.InferenceSession.create(model, { ...BASE, executionProviders: ["wasm"], externalData });
  return warmedUp({ provider: "wasm", cpuNodes: [], ...runs(runtime as never, session as never) }, graph, options);
}

/** Runs what the graph is to be run with before it serves. */
async function warmedUp(
  session: GraphSession,
  graph: PreparedGraph,
  { warmUp }: GraphSessionOptions,
): Promise<GraphSession> {
  for (const sample of samplesOf(graph, warmUp)) await sample(session.run);
  return session;
}

/** Of a file that goes through memory. */
export const readBytes = async (directory: string, file: string): Promise<Uint8Array> =>
  new Uint8Array(await readFile(join(directory, file)));

/** What any session does with plain tensors. */
export function runs({ Tensor }: Runtime, session: InferenceSession): Pick<GraphSession, "run" | "release"> {
  return {
    async run(feeds) {
      const tensors = Object.entries(feeds).map(
        ([name, { type, data, dims }]) => [name, new Tensor(type as never, bitsOf(data) as never, dims)] as const,
      );
      const given = await session.run(Object.fromEntries(tensors));
      const values = await Promise.all(
        Object.entries(given).map(async ([name, value]) => [name, await valueOf(value)]),
      );
      return Object.fromEntries(values) as Tensors;
    },
    release: () => session.release(),
  };
}

async function valueOf(tensor: Tensor): Promise<TensorValue> {
  const data = (await tensor.getData()) as TensorValue["data"];
  tensor.dispose();
  const type = tensor.type as TensorType;
  const isHalf = type === "float16" && data instanceof Uint16Array;
  return { type, dims: tensor.dims, data: isHalf ? new Float16Array(data.buffer, data.byteOffset, data.length) : data };
}

/** Half floats as their bits, which both packages take. */
const bitsOf = (data: TensorValue["data"]): TensorValue["data"] =>
  data instanceof Float16Array ? new Uint16Array(data.buffer, data.byteOffset, data.length) : data;
