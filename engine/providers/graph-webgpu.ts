/** Any graph in ONNX Runtime Web's WebGPU provider, through Dawn in Node: checked against a CPU before it serves. */
import { openAsBlob } from "node:fs";
import { join } from "node:path";
import type { InferenceSession } from "onnxruntime-node";
import type { PreparedGraph } from "../graph-model.ts";
import { assertAgree, samplesOf } from "../graph-sample.ts";
import { findAdapter, gpuFacts, openDevice } from "./gpu-device.ts";
import {
  BASE,
  createNativeSession,
  createWasmSession,
  type GraphSession,
  type GraphSessionOptions,
  readBytes,
  runs,
} from "./graph-session.ts";
import { nodeGpu } from "./node-gpu.ts";
import { cpuNodesIn } from "./node-placement.ts";
import { isFallback } from "./ort-webgpu.ts";

/**
 * With subgroups if the graph is right with them, else without. Rejects where there is no adapter, only a software one that wasn't asked for,
 * or one that computes wrongly what the graph is run with beforehand.
 */
export async function createWebgpuSession(graph: PreparedGraph, options: GraphSessionOptions): Promise<GraphSession> {
  const samples = samplesOf(graph, options.warmUp);
  let wrong: unknown;
  for (const withSubgroups of [true, false]) {
    const adapter = await findAdapter(await nodeGpu());
    if (adapter === undefined) throw new Error("there is no WebGPU adapter");
    const { isSoftware, description, architecture, vendor } = gpuFacts(adapter);
    if (isSoftware && !options.allowSoftwareGpu)
      throw new Error(
        `the only WebGPU adapter is software (${description || architecture || vendor}); allow software GPUs to use it`,
      );
    // A software adapter gains nothing by them.
    if (withSubgroups && (isSoftware || !adapter.features.has("subgroups"))) continue;
    const device = await openDevice(adapter, { withSubgroups });
    const session = await sessionOn(device, graph);
    if (samples.length === 0) return session;
    const reference = await referenceOf(graph, options);
    try {
      for (const sample of samples) await assertAgree(sample, session.run, reference.run);
      return session;
    } catch (error) {
      wrong = error;
      await session.release();
      device.destroy();
    } finally {
      await reference.release();
    }
  }
  throw new Error(
    `the GPU's numbers are not the CPU's: ${wrong instanceof Error ? wrong.message : String(wrong)}; use another provider`,
  );
}

/** The same graph on a CPU. */
const referenceOf = (graph: PreparedGraph, options: GraphSessionOptions): Promise<GraphSession> =>
  createNativeSession(graph, { ...options, warmUp: [] }).catch(() =>
    createWasmSession(graph, { ...options, warmUp: [] }),
  );

async function sessionOn(device: GPUDevice, graph: PreparedGraph): Promise<GraphSession> {
  const runtime = await import("onnxruntime-web/jspi");
  runtime.env.wasm.numThreads = 1;
  const { directory, file, external, isOwn } = graph;
  const model = await readBytes(directory, file);
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
      cpuNodes = await cpuNodesIn(async () =>
        ((await create({ logSeverityLevel: 0, logVerbosityLevel: 0 })) as InferenceSession).release(),
      );
      if (isOwn) throw new Error(`the GPU has no kernel for ${cpuNodes.join(", ")}`, { cause: error });
      return create({});
    },
  );
  const lost = device.lost.then(({ reason, message }) => `the GPU device was lost (${reason}): ${message}`);
  return { provider: "webgpu", cpuNodes, lost, ...runs(runtime as never, session as InferenceSession) };
}
