/** Any graph in Node: in the add-on, or in ONNX Runtime Web on WASM or on Dawn's WebGPU. Its files are in a folder. */
import { openAsBlob } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { PreparedGraph } from "../graph-model.ts";
import {
  BASE,
  createWasmSession,
  type GraphHost,
  type GraphSession,
  type GraphSessionOptions,
  runs,
  warmedUp,
} from "./graph-session.ts";
import { createWebgpuSession } from "./graph-webgpu.ts";
import { loadNativeRuntime } from "./native.ts";
import { nodeGpu } from "./node-gpu.ts";
import { withPlacementLog } from "./node-placement.ts";
import type { OrtWeb } from "./ort-webgpu.ts";

const pathOf = (graph: PreparedGraph, name: string): string => {
  if (!("directory" in graph)) throw new Error("in Node a graph is loaded from its folder");
  return join(graph.directory, name);
};

const host: GraphHost = {
  loadRuntime: () => import("onnxruntime-web") as Promise<OrtWeb>,
  read: async (graph, name) => new Uint8Array(await readFile(pathOf(graph, name))),
};

/** In the add-on, from the folder: the weights never pass through JavaScript. */
export async function createNativeSession(graph: PreparedGraph, options: GraphSessionOptions): Promise<GraphSession> {
  const runtime = await loadNativeRuntime();
  forgetHalfFloats(runtime.Tensor);
  const session = await runtime.InferenceSession.create(pathOf(graph, graph.file), {
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

export const createNodeWasmSession = (graph: PreparedGraph, options: GraphSessionOptions): Promise<GraphSession> =>
  createWasmSession(graph, options, host);

/** Through Dawn. The CPU that it must agree with is the add-on's, where there is one. */
export const createNodeWebgpuSession = (graph: PreparedGraph, options: GraphSessionOptions): Promise<GraphSession> =>
  createWebgpuSession(graph, options, {
    ...host,
    gpu: nodeGpu,
    loadRuntime: () => import("onnxruntime-web/jspi"),
    // A Blob is streamed to the GPU tensor by tensor.
    open: (graph, name) => openAsBlob(pathOf(graph, name)),
    createReference: (graph, options) =>
      createNativeSession(graph, options).catch(() => createNodeWasmSession(graph, options)),
    withPlacementLog,
  });
