/** Any graph in ONNX Runtime Web's WebGPU provider, in Node and in tabs: checked against a CPU before it serves. */
import type { InferenceSession } from "onnxruntime-node";
import type { PreparedGraph } from "../graph-model.ts";
import { assertAgree, samplesOf } from "../graph-sample.ts";
import { findAdapter, type Gpu, gpuFacts, openDevice } from "./gpu-device.ts";
import { BASE, type GraphHost, type GraphSession, type GraphSessionOptions, runs } from "./graph-session.ts";
import { isFallback } from "./ort-webgpu.ts";
import { cpuNodesOf, type WithPlacementLog } from "./placement-log.ts";

export interface GpuGraphHost extends GraphHost {
  gpu(): Promise<Gpu>;
  /** A file of external tensors: a Blob on disk needn't pass through memory as a whole. */
  open(graph: PreparedGraph, name: string): Promise<Uint8Array | Blob>;
  /** The same graph on a CPU. */
  createReference(graph: PreparedGraph, options: GraphSessionOptions): Promise<GraphSession>;
  readonly withPlacementLog: WithPlacementLog;
}

/**
 * With subgroups if the graph is right with them, else without. Rejects where there is no adapter, only a software one that wasn't asked for,
 * or one that computes wrongly what the graph is run with beforehand.
 */
export async function createWebgpuSession(
  graph: PreparedGraph,
  options: GraphSessionOptions,
  host: GpuGraphHost,
): Promise<GraphSession> {
  const samples = samplesOf(graph, options.warmUp);
  let wrong: unknown;
  for (const withSubgroups of [true, false]) {
    const adapter = await findAdapter(await host.gpu());
    if (adapter === undefined) throw new Error("there is no WebGPU adapter");
    const { isSoftware, description, architecture, vendor } = gpuFacts(adapter);
    if (isSoftware && !options.allowSoftwareGpu)
      throw new Error(
        `the only WebGPU adapter is software (${description || architecture || vendor}); allow software GPUs to use it`,
      );
    // A software adapter gains nothing by them.
    if (withSubgroups && (isSoftware || !adapter.features.has("subgroups"))) continue;
    const device = await openDevice(adapter, { withSubgroups });
    const session = await sessionOn(device, graph, host);
    if (samples.length === 0) return session;
    const reference = await host.createReference(graph, { ...options, warmUp: [] });
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

async function sessionOn(device: GPUDevice, graph: PreparedGraph, host: GpuGraphHost): Promise<GraphSession> {
  const runtime = await host.loadRuntime();
  runtime.env.wasm.numThreads = 1;
  const { file, external, isOwn } = graph;
  const model = await host.read(graph, file);
  const externalData = await Promise.all(external.map(async (path) => ({ path, data: await host.open(graph, path) })));
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
      const { result, text } = await host.withPlacementLog(() => create({ logSeverityLevel: 0, logVerbosityLevel: 0 }));
      await (result as InferenceSession).release();
      cpuNodes = cpuNodesOf(text);
      if (isOwn) throw new Error(`the GPU has no kernel for ${cpuNodes.join(", ")}`, { cause: error });
      return create({});
    },
  );
  const lost = device.lost.then(({ reason, message }) => `the GPU device was lost (${reason}): ${message}`);
  return { provider: "webgpu", cpuNodes, lost, ...runs(runtime as never, session as InferenceSession) };
}
