/** Any graph in a session of ONNX Runtime: what all providers have in common, and the WASM provider, in Node and in tabs. */
import type { InferenceSession, Tensor } from "onnxruntime-node";
import type { PreparedGraph } from "../graph-model.ts";
import type { TensorType, TensorValue, Tensors } from "../tensor.ts";
import type { ProviderName } from "../types.ts";
import { samplesOf, type Shapes } from "../graph-sample.ts";
import type { OrtWeb } from "./ort-webgpu.ts";

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

/** What sessions of ONNX Runtime Web need of the place they are in. */
export interface GraphHost {
  /** ONNX Runtime Web, where a bundler must find it. */
  loadRuntime(): Promise<OrtWeb>;
  /** A file of the graph, whole. */
  read(graph: PreparedGraph, name: string): Promise<Uint8Array>;
}

/** In ONNX Runtime Web's WASM provider. More than one thread needs SharedArrayBuffer, which a tab has only when cross-origin isolated. */
export async function createWasmSession(
  graph: PreparedGraph,
  options: GraphSessionOptions,
  host: GraphHost,
): Promise<GraphSession> {
  const runtime = await host.loadRuntime();
  runtime.env.wasm.numThreads = options.threads;
  const { file, external } = graph;
  const model = await host.read(graph, file);
  const externalData = await Promise.all(external.map(async (path) => ({ path, data: await host.read(graph, path) })));
  const session = await runtime.InferenceSession.create(model, { ...BASE, executionProviders: ["wasm"], externalData });
  return warmedUp({ provider: "wasm", cpuNodes: [], ...runs(runtime as never, session as never) }, graph, options);
}

/** Runs what the graph is to be run with before it serves. */
export async function warmedUp(
  session: GraphSession,
  graph: PreparedGraph,
  { warmUp }: GraphSessionOptions,
): Promise<GraphSession> {
  for (const sample of samplesOf(graph, warmUp)) await sample(session.run);
  return session;
}

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
