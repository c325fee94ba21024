/** Any graph in ONNX Runtime, in Node: the add-on, or ONNX Runtime Web on WASM or on a WebGPU device. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { InferenceSession, Tensor } from "onnxruntime-node";
import type { PreparedGraph } from "../graph-model.ts";
import type { TensorType, TensorValue, Tensors } from "../tensor.ts";
import type { ProviderName } from "../types.ts";
import { findAdapter, gpuFacts, openDevice } from "./gpu-device.ts";
import { loadNativeRuntime } from "./native.ts";
import { nodeGpu } from "./node-gpu.ts";

export interface GraphSession {
  readonly provider: ProviderName;
  /** What is worth a line in the log. */
  readonly notes: readonly string[];
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
}

/** What is used of either package. */
interface Runtime {
  readonly Tensor: new (type: never, data: never, dims: readonly number[]) => Tensor;
}

const BASE: InferenceSession.SessionOptions = {
  graphOptimizationLevel: "all",
  // Shapes change from run to run: a pattern would be planned anew for each.
  enableMemPattern: false,
  logSeverityLevel: 3,
};

/** In the add-on, from the folder: the weights never pass through JavaScript. */
export async function createNativeSession(
  { directory, file }: PreparedGraph,
  { threads }: GraphSessionOptions,
): Promise<GraphSession> {
  const runtime = await loadNativeRuntime();
  const session = await runtime.InferenceSession.create(join(directory, file), {
    ...BASE,
    executionProviders: ["cpu"],
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    // As in native.ts.
    extra: { session: { intra_op: { allow_spinning: "0" } } },
  });
  return { provider: "native", notes: [], ...runs(runtime as never, session) };
}

/** In ONNX Runtime Web's WASM provider. */
export async function createWasmSession(graph: PreparedGraph, { threads }: GraphSessionOptions): Promise<GraphSession> {
  const runtime = await import("onnxruntime-web");
  runtime.env.wasm.numThreads = threads;
  const { model, externalData } = await contents(graph);
  const session = await runtime.InferenceSession.create(model, { ...BASE, executionProviders: ["wasm"], externalData });
  return { provider: "wasm", notes: [], ...runs(runtime as never, session as never) };
}

/** In ONNX Runtime Web's WebGPU provider, through Dawn. */
export async function createWebgpuSession(
  graph: PreparedGraph,
  { allowSoftwareGpu }: GraphSessionOptions,
): Promise<GraphSession> {
  const adapter = await findAdapter(await nodeGpu());
  if (adapter === undefined) throw new Error("there is no WebGPU adapter");
  const { isSoftware, description, architecture, vendor } = gpuFacts(adapter);
  if (isSoftware && !allowSoftwareGpu)
    throw new Error(
      `the only WebGPU adapter is software (${description || architecture || vendor}); allow software GPUs to use it`,
    );
  const runtime = await import("onnxruntime-web/jspi");
  runtime.env.wasm.numThreads = 1;
  const device = await openDevice(adapter, { withSubgroups: !isSoftware });
  const { model, externalData } = await contents(graph);
  const session = await runtime.InferenceSession.create(model, {
    ...BASE,
    executionProviders: [{ name: "webgpu", device }],
    externalData,
    ...(graph.isOwn ? { extra: { session: { disable_cpu_ep_fallback: "1" } } } : {}),
  });
  const lost = device.lost.then(({ reason, message }) => `the GPU device was lost (${reason}): ${message}`);
  return { provider: "webgpu", notes: [], lost, ...runs(runtime as never, session as never) };
}

async function contents({ directory, file, external }: PreparedGraph) {
  const read = async (name: string): Promise<Uint8Array> => new Uint8Array(await readFile(join(directory, name)));
  return {
    model: await read(file),
    externalData: await Promise.all(external.map(async (path) => ({ path, data: await read(path) }))),
  };
}

function runs({ Tensor }: Runtime, session: InferenceSession): Pick<GraphSession, "run" | "release"> {
  return {
    async run(feeds) {
      const tensors = Object.entries(feeds).map(
        ([name, { type, data, dims }]) => [name, new Tensor(type as never, data as never, dims)] as const,
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
  return { type: tensor.type as TensorType, dims: tensor.dims, data };
}
