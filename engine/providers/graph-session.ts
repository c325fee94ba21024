/** Any graph in ONNX Runtime, in Node: the add-on, or ONNX Runtime Web on WASM or on a WebGPU device. */
import { openAsBlob } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { InferenceSession, Tensor } from "onnxruntime-node";
import type { PreparedGraph } from "../graph-model.ts";
import type { TensorType, TensorValue, Tensors } from "../tensor.ts";
import type { ProviderName } from "../types.ts";
import { cpuNodesOf, withPlacementLog } from "./node-placement.ts";
import { findAdapter, gpuFacts, openDevice } from "./gpu-device.ts";
import { loadNativeRuntime } from "./native.ts";
import { nodeGpu } from "./node-gpu.ts";

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
  forgetHalfFloats(runtime.Tensor);
  const session = await runtime.InferenceSession.create(join(directory, file), {
    ...BASE,
    executionProviders: ["cpu"],
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    // As in native.ts.
    extra: { session: { intra_op: { allow_spinning: "0" } } },
  });
  return { provider: "native", cpuNodes: [], ...runs(runtime as never, session) };
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
export async function createWasmSession(graph: PreparedGraph, { threads }: GraphSessionOptions): Promise<GraphSession> {
  const runtime = await import("onnxruntime-web");
  runtime.env.wasm.numThreads = threads;
  const { directory, file, external } = graph;
  const model = await bytesOf(directory, file);
  const externalData = await Promise.all(
    external.map(async (path) => ({ path, data: await bytesOf(directory, path) })),
  );
  const session = await runtime.InferenceSession.create(model, { ...BASE, executionProviders: ["wasm"], externalData });
  return { provider: "wasm", cpuNodes: [], ...runs(runtime as never, session as never) };
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
  const { directory, file, external, isOwn } = graph;
  const model = await bytesOf(directory, file);
  // A Blob is streamed to the GPU tensor by tensor.
  const externalData = await Promise.all(
    external.map(async (path) => ({ path, data: await openAsBlob(join(directory, path)) })),
  );
  const create = (options: InferenceSession.SessionOptions): Promise<unknown> =>
    runtime.InferenceSession.create(model, {
      ...BASE,
      executionProviders: [{ name: "webgpu", device }],
      externalData,
      ...(options as object),
    });
  let cpuNodes: readonly string[] = [];
  const session = await create({ logSeverityLevel: 4, extra: { session: { disable_cpu_ep_fallback: "1" } } }).catch(
    async (error: unknown) => {
      if (!isFallback(error)) throw error;
      // The runtime tells which nodes only in a log that it then keeps on writing: another session reads it.
      const { result, text } = await withPlacementLog(() => create({ logSeverityLevel: 0, logVerbosityLevel: 0 }));
      await (result as InferenceSession).release();
      cpuNodes = cpuNodesOf(text);
      if (isOwn) throw new Error(`the GPU has no kernel for ${cpuNodes.join(", ")}`, { cause: error });
      return create({});
    },
  );
  const lost = device.lost.then(({ reason, message }) => `the GPU device was lost (${reason}): ${message}`);
  return { provider: "webgpu", cpuNodes, lost, ...runs(runtime as never, session as InferenceSession) };
}

const isFallback = (error: unknown): boolean => error instanceof Error && error.message.includes("fallback to CPU EP");

const bytesOf = async (directory: string, file: string): Promise<Uint8Array> =>
  new Uint8Array(await readFile(join(directory, file)));

function runs({ Tensor }: Runtime, session: InferenceSession): Pick<GraphSession, "run" | "release"> {
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
