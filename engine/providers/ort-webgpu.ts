/**
 * ONNX Runtime Web on a WebGPU device of ours: sessions, tensors over buffers. Every call into the runtime goes through one queue:
 * two at once hang or corrupt it.
 */
import type { InferenceSession, Tensor } from "onnxruntime-web/jspi";
import { WEIGHTS_FILE } from "../onnx/graph.ts";
import { cpuNodesOf, type WithPlacementLog } from "./placement-log.ts";

export type OrtWeb = typeof import("onnxruntime-web/jspi");

export interface GpuSession {
  /** Feeds and pre-bound outputs by name; returns what the runtime allocated, which the caller disposes of. */
  run(
    feeds: Record<string, Tensor>,
    fetches: Record<string, Tensor | null>,
  ): Promise<InferenceSession.OnnxValueMapType>;
  release(): Promise<void>;
}

export interface GpuRuntime {
  readonly device: GPUDevice;
  /** Resolves with a sentence when the device is gone, also when it was destroyed on purpose. */
  readonly lost: Promise<string>;
  /** Settles as `work` does, or rejects with that sentence as soon as the device is gone. */
  whileThere<T>(work: Promise<T>): Promise<T>;
  /** Outputs named in `inPlace` stay on the GPU. Fails where an operator has no GPU kernel. */
  createSession(
    graph: Uint8Array,
    weights: Uint8Array | Blob | undefined,
    inPlace: readonly string[],
  ): Promise<GpuSession>;
  float32(values: Float32Array, shape: readonly number[]): Tensor;
  int32(values: Int32Array, shape: readonly number[]): Tensor;
  int64(values: ArrayLike<number>, shape: readonly number[]): Tensor;
  /** f32 tensor over a buffer's beginning. */
  overBuffer(buffer: GPUBuffer, shape: readonly number[]): Tensor;
  buffer(byteLength: number): GPUBuffer;
  /** Into a buffer, from its beginning on. */
  write(buffer: GPUBuffer, values: Float32Array<ArrayBuffer>): void;
  /** The first bytes of a buffer, after all that was submitted before. */
  read(buffer: GPUBuffer, byteLength: number): Promise<ArrayBuffer>;
}

let tail: Promise<unknown> = Promise.resolve();

/** Runs `work` after all that was queued before it, in this thread. */
function exclusively<T>(work: () => Promise<T>): Promise<T> {
  const result = tail.then(work);
  tail = result.catch(() => undefined);
  return result;
}

/** Whether a session could not be made because the GPU lacks a kernel. */
export const isFallback = (error: unknown): boolean =>
  error instanceof Error && error.message.includes("fallback to CPU EP");

/**
 * The runtime on `device`. After the device is lost every call rejects.
 * @param withPlacementLog where there is one, a graph for which the GPU lacks kernels is refused by the names of the nodes
 */
export function gpuRuntime(ort: OrtWeb, device: GPUDevice, withPlacementLog?: WithPlacementLog): GpuRuntime {
  // ONNX Runtime Web computes with one thread here: the GPU does the work.
  ort.env.wasm.numThreads = 1;
  const lost = device.lost.then(
    ({ reason, message }) => `the GPU device was lost (${reason}): ${message || "no reason given"}`,
  );
  // What waits now. Racing each call with `lost` itself would leave something behind there for each.
  const waiting = new Set<(error: Error) => void>();
  let loss: Error | undefined;
  void lost.then((reason) => {
    loss = new Error(reason);
    for (const reject of waiting) reject(loss);
  });
  const whileThere = <T>(work: Promise<T>): Promise<T> =>
    new Promise((resolve, reject) => {
      if (loss !== undefined) reject(loss);
      waiting.add(reject);
      work.then(resolve, reject).finally(() => waiting.delete(reject));
    });
  const onDevice = <T>(work: () => Promise<T>): Promise<T> => whileThere(exclusively(work));

  return {
    device,
    lost,
    whileThere,
    async createSession(graph, weights, inPlace) {
      const create = (options: object): Promise<InferenceSession> =>
        ort.InferenceSession.create(graph, {
          executionProviders: [{ name: "webgpu", device }],
          externalData: weights === undefined ? [] : [{ path: WEIGHTS_FILE, data: weights }],
          preferredOutputLocation: Object.fromEntries(inPlace.map((name) => [name, "gpu-buffer" as const])),
          ...options,
        });
      const session = await onDevice(async () => {
        try {
          return await create({ logSeverityLevel: 3, extra: { session: { disable_cpu_ep_fallback: "1" } } });
        } catch (cause) {
          if (withPlacementLog === undefined || !isFallback(cause)) throw cause;
          // The runtime tells which only of a session that it could make.
          const talkative = { logSeverityLevel: 0, logVerbosityLevel: 0 } as const;
          const { text } = await withPlacementLog(async () => (await create(talkative)).release());
          throw new Error(`the GPU has no kernel for ${cpuNodesOf(text).join(", ")}`, { cause });
        }
      });
      return {
        run: (feeds, fetches) => onDevice(() => session.run(feeds, fetches)),
        release: () => onDevice(() => session.release()),
      };
    },
    float32: (values, shape) => new ort.Tensor("float32", values, shape),
    int32: (values, shape) => new ort.Tensor("int32", values, shape),
    int64: (values, shape) => new ort.Tensor("int64", BigInt64Array.from(Array.from(values, BigInt)), shape),
    overBuffer: (gpuBuffer, shape) => ort.Tensor.fromGpuBuffer(gpuBuffer, { dataType: "float32", dims: [...shape] }),
    buffer: (size) =>
      device.createBuffer({ size, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST }),
    write: (buffer, values) => device.queue.writeBuffer(buffer, 0, values),
    async read(buffer, size) {
      const readable = device.createBuffer({ size, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
      const encoder = device.createCommandEncoder();
      encoder.copyBufferToBuffer(buffer, 0, readable, 0, size);
      device.queue.submit([encoder.finish()]);
      await whileThere(readable.mapAsync(GPUMapMode.READ));
      const bytes = readable.getMappedRange().slice(0);
      readable.destroy();
      return bytes;
    },
  };
}
