/**
 * Runs a prepared graph on ONNX Runtime's CPU provider, in Node. Each run blocks the thread it is called on: keep it off threads that
 * have other work.
 *
 * The keys and values stay in place: each run's `present` outputs are bound to the tensors it got as `past`.
 */
import type { InferenceSession, Tensor } from "onnxruntime-node";
import { COPY_STOP, WEIGHTS_FILE } from "../onnx/graph.ts";
import type { PreparedModel } from "../prepare.ts";
import type { Runner } from "../types.ts";
import {
  assertCopy,
  assertOptions,
  copyPositions,
  decodeStep,
  everyToken,
  kvLayout,
  lastOfEachRow,
  prefillStep,
  type RunnerOptions,
  type Step,
} from "./kv.ts";

type Runtime = typeof import("onnxruntime-node");

/** ONNX Runtime reports to its makers unless this is "1" in the process's environment when the add-on loads. */
const NO_TELEMETRY = "ORT_DISABLE_TELEMETRY";

/**
 * Loads the add-on. Throws where this platform has none, and where the process could not be kept from calling home: a worker thread
 * can't change the environment that native code sees, so whoever starts the process must set it.
 */
export async function loadNativeRuntime(): Promise<Runtime> {
  if (process.env[NO_TELEMETRY] !== "1") {
    throw new Error(
      `start this process with ${NO_TELEMETRY}=1 in its environment: without it ONNX Runtime contacts its makers`,
    );
  }
  try {
    return await import("onnxruntime-node");
  } catch (cause) {
    throw new Error(
      `the native provider is not available on ${process.platform}-${process.arch}: use the wasm provider`,
      { cause },
    );
  }
}

/** Loads a model prepared for the targets "native" or "f32". In-place slots of `slotLength` tokens are allocated at once. */
export async function createNativeRunner(prepared: PreparedModel, options: RunnerOptions): Promise<Runner> {
  assertOptions(prepared, options);
  const { config } = prepared;
  const runtime = await loadNativeRuntime();
  const session = await createSession(runtime, prepared, options.threads);
  const layout = kvLayout(config, options);
  const buffers = new Map(layout.names.map((name) => [name, new Float32Array(options.slots * layout.slotElements)]));
  const kvTensors = new Map<string, Map<string, Tensor>>();
  let logits = new Float32Array(0);

  /** The tensors over `rows` slots from `firstSlot` on: made once, at most two sets per slot. */
  function kvOf(firstSlot: number, rows: number): Map<string, Tensor> {
    const key = `${firstSlot}+${rows}`;
    let tensors = kvTensors.get(key);
    if (tensors === undefined) {
      const { slotElements } = layout;
      const part = (buffer: Float32Array): Float32Array =>
        buffer.subarray(firstSlot * slotElements, (firstSlot + rows) * slotElements);
      tensors = new Map(
        [...buffers].map(([name, buffer]) => [name, new runtime.Tensor("float32", part(buffer), layout.shape(rows))]),
      );
      kvTensors.set(key, tensors);
    }
    return tensors;
  }

  function logitsOf(rows: number): Float32Array {
    const length = rows * config.vocabulary;
    if (logits.length < length) logits = new Float32Array(length);
    return logits.subarray(0, length);
  }

  async function run(step: Step, selected = lastOfEachRow(step)): Promise<Float32Array> {
    const { rows, sequence } = step;
    const values = logitsOf(selected.length);
    const feeds: Record<string, Tensor> = {
      input_ids: new runtime.Tensor("int64", BigInt64Array.from(step.tokens, BigInt), [rows, sequence]),
      seqlens_k: new runtime.Tensor("int32", step.lastPositions, [rows]),
      total_len: new runtime.Tensor("int32", Int32Array.of(step.longest), [1]),
      sel: new runtime.Tensor("int64", BigInt64Array.from(selected, BigInt), [selected.length]),
    };
    const fetches: Record<string, Tensor | null> = {
      [COPY_STOP]: null,
      logits: new runtime.Tensor("float32", values, [selected.length, 1, config.vocabulary]),
    };
    for (const [name, tensor] of kvOf(step.firstSlot, rows)) {
      feeds[`past.${name}`] = tensor;
      fetches[`present.${name}`] = tensor;
    }
    await runInPlace(session, feeds, fetches);
    return values;
  }

  return {
    provider: "native",
    config,
    slots: options.slots,
    slotLength: options.slotLength,
    async prefill(slot, tokens, start, wantLogits) {
      const values = await run(prefillStep(layout, config, slot, tokens, start));
      return wantLogits ? values : undefined;
    },
    async prefillScored(slot, tokens, start) {
      const step = prefillStep(layout, config, slot, tokens, start);
      return run(step, everyToken(step));
    },
    decode: async (tokens, positions) => run(decodeStep(layout, config, tokens, positions)),
    async copySlot(from, to, length) {
      assertCopy(layout, from, to, length);
      for (const buffer of buffers.values()) copyPositions(layout, buffer, from, to, length);
    },
    async release() {
      await session.release();
      buffers.clear();
      kvTensors.clear();
    },
  };
}

/** What the binding says when it meets COPY_STOP. */
const STOPPED = "Non tensor type";

/** Runs into the memory of `fetches`. A binding that could represent COPY_STOP would only be slower: it would copy every output. */
async function runInPlace(
  session: InferenceSession,
  feeds: Record<string, Tensor>,
  fetches: Record<string, Tensor | null>,
): Promise<void> {
  try {
    await session.run(feeds, fetches);
  } catch (error) {
    if (!(error instanceof Error && error.message.startsWith(STOPPED))) throw error;
  }
}

/** From the directory where there is one, so that the weights never pass through JavaScript. */
function createSession(
  runtime: Runtime,
  { directory, graph, weights }: PreparedModel,
  threads: number,
): Promise<InferenceSession> {
  const options: InferenceSession.SessionOptions = {
    executionProviders: ["cpu"],
    graphOptimizationLevel: "all",
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    // Shapes change from step to step: a pattern would be planned anew for each.
    enableMemPattern: false,
    // Threads that wait by spinning halve the speed as soon as something else wants the cores, and gain nothing when nothing does.
    extra: { session: { intra_op: { allow_spinning: "0" } } },
    logSeverityLevel: 3,
  };
  if (directory !== undefined) return runtime.InferenceSession.create(`${directory}/model.onnx`, options);
  const data = weights.subarray(0, weights.byteLength);
  return runtime.InferenceSession.create(graph, { ...options, externalData: [{ path: WEIGHTS_FILE, data }] });
}
