/**
 * Runs a prepared graph on ONNX Runtime Web's WebGPU provider, on a device of ours: Dawn in Node, `navigator.gpu` in a tab.
 *
 * A tensor over a GPU buffer always begins at the buffer's first byte, so a prompt can't be run in a slot in the middle. It runs in a
 * buffer of one slot, the stage, and each chunk's keys and values are copied from there into the slot.
 */
import type { Tensor } from "onnxruntime-web/jspi";
import type { Draw } from "../choice.ts";
import type { PreparedModel } from "../prepare.ts";
import type { ModelConfig, Runner } from "../types.ts";
import { GREEDY } from "../sampling.ts";
import { checkChoice } from "./choice-test.ts";
import { findAdapter, type Gpu, gpuFacts, openDevice } from "./gpu-device.ts";
import { GpuChooser } from "./gpu-chooser.ts";
import {
  assertCopy,
  assertOptions,
  decodeStep,
  everyToken,
  type KvLayout,
  kvLayout,
  lastOfEachRow,
  prefillStep,
  type RunnerOptions,
  type Step,
} from "./kv.ts";
import { multiplicationsOf } from "./multiplication-test.ts";
import { type GpuRuntime, gpuRuntime, type OrtWeb } from "./ort-webgpu.ts";
import type { WithPlacementLog } from "./placement-log.ts";
import { faultOf, selfTest } from "./self-test.ts";

const FLOAT = 4;
/** Long enough for the kernels that longer prompts use. */
const WARM_UP_TOKENS = 40;

export interface WebgpuRunnerOptions extends RunnerOptions {
  readonly gpu: Gpu;
  /** Take an adapter that computes on the CPU. */
  readonly allowSoftwareGpu: boolean;
  /** ONNX Runtime Web, where a bundler must find it; by default the package's own build with JSPI. */
  readonly loadRuntime?: () => Promise<OrtWeb>;
  /** Weights as a Blob on disk are streamed to the GPU tensor by tensor; without it they pass through memory as a whole. */
  readonly openWeights?: () => Promise<Blob>;
  /** How a graph's nodes without GPU kernels are told, where the platform can. */
  readonly withPlacementLog?: WithPlacementLog;
  readonly onStage?: (stage: string) => void;
}

/**
 * Loads a model prepared for the targets "webgpu" or "f32", after the device passed the self-test. Rejects where there is no adapter,
 * only a software one that wasn't asked for, or one that computes wrongly.
 */
export async function createWebgpuRunner(prepared: PreparedModel, options: WebgpuRunnerOptions): Promise<Runner> {
  assertOptions(prepared, options);
  const ort = await (options.loadRuntime ?? (() => import("onnxruntime-web/jspi")))();
  options.onStage?.("self-test (webgpu)");
  const { runtime, chooser } = await openTestedDevice(ort, prepared, options);
  options.onStage?.("session (webgpu)");
  const layout = kvLayout(prepared.config, options);
  assertFits(layout, prepared.config, runtime.device);
  const weights = options.openWeights
    ? await options.openWeights()
    : prepared.weights.subarray(0, prepared.weights.byteLength);
  const session = await runtime.createSession(prepared.graph, weights, [
    ...layout.names.map((name) => `present.${name}`),
    "logits",
  ]);
  const cache = new KvCache(runtime, layout);
  const { config } = prepared;
  const { vocabulary } = config;

  /** Leaves the logits of each selected token in the chooser's buffer. */
  async function run(step: Step, kv: ReadonlyMap<string, Tensor>, selected = lastOfEachRow(step)): Promise<void> {
    const { rows, sequence } = step;
    const feeds: Record<string, Tensor> = {
      input_ids: runtime.int64(step.tokens, [rows, sequence]),
      seqlens_k: runtime.int32(step.lastPositions, [rows]),
      total_len: runtime.int32(Int32Array.of(step.longest), [1]),
      sel: runtime.int64(selected, [selected.length]),
    };
    const fetches: Record<string, Tensor> = {
      logits: runtime.overBuffer(chooser.logits(selected.length), [selected.length, 1, vocabulary]),
    };
    for (const [name, tensor] of kv) {
      feeds[`past.${name}`] = tensor;
      fetches[`present.${name}`] = tensor;
    }
    await session.run(feeds, fetches);
  }

  async function prefill(slot: number, tokens: Int32Array, start: number, select = lastOfEachRow): Promise<void> {
    const step = prefillStep(layout, config, slot, tokens, start);
    cache.stageSlot(slot, start);
    await run(step, cache.stage(), select(step));
    cache.unstage(start, tokens.length);
  }

  async function decode(tokens: Int32Array, positions: Int32Array): Promise<void> {
    const step = decodeStep(layout, config, tokens, positions);
    cache.overwrites(positions);
    await run(step, cache.rows(tokens.length));
  }

  const logitsOf = async (rows: number): Promise<Float32Array> =>
    new Float32Array(await runtime.read(chooser.logits(rows), rows * vocabulary * FLOAT));

  const runner: Runner = {
    provider: "webgpu",
    config,
    slots: options.slots,
    slotLength: options.slotLength,
    lost: runtime.lost,
    async prefill(slot, tokens, start, wantLogits) {
      await prefill(slot, tokens, start);
      if (wantLogits) return logitsOf(1);
      // Nothing is read: a chunk must not be called done while the GPU still has it before it.
      await runtime.whileThere(runtime.device.queue.onSubmittedWorkDone());
      return undefined;
    },
    async prefillScored(slot, tokens, start) {
      await prefill(slot, tokens, start, everyToken);
      return logitsOf(tokens.length);
    },
    async decode(tokens, positions) {
      await decode(tokens, positions);
      return logitsOf(tokens.length);
    },
    choosing: {
      async prefill(slot, tokens, start, draw) {
        await prefill(slot, tokens, start);
        const [choice] = await chooser.choose([draw]);
        return choice!;
      },
      async decode(tokens, positions, draws) {
        await decode(tokens, positions);
        return chooser.choose(draws);
      },
    },
    async copySlot(from, to, length) {
      assertCopy(layout, from, to, length);
      cache.copy(from, to, length);
    },
    async release() {
      await session.release();
      cache.destroy();
      chooser.destroy();
      runtime.device.destroy();
    },
  };
  options.onStage?.("warm-up (webgpu)");
  await warmUp(runner);
  return runner;
}

/** Has the shaders of both kinds of steps compiled, so that the first request doesn't wait for them. */
async function warmUp(runner: Runner): Promise<void> {
  const draw: Draw = { sampling: GREEDY, history: { seen: new Set(), counts: new Map() }, uniform: 0, barred: [] };
  await runner.choosing!.prefill(0, new Int32Array(Math.min(WARM_UP_TOKENS, runner.slotLength)), 0, draw);
  await runner.choosing!.decode(Int32Array.of(0), Int32Array.of(0), [draw]);
}

/** A device that passes the test: with subgroups if they work, else without. */
async function openTestedDevice(
  ort: OrtWeb,
  { config, graph }: PreparedModel,
  { gpu, allowSoftwareGpu, withPlacementLog }: WebgpuRunnerOptions,
): Promise<{ runtime: GpuRuntime; chooser: GpuChooser }> {
  const multiplications = await multiplicationsOf(graph);
  let fault = "";
  for (const withSubgroups of [true, false]) {
    const adapter = await findAdapter(gpu);
    if (adapter === undefined) throw new Error("there is no WebGPU adapter");
    const facts = gpuFacts(adapter);
    if (facts.isSoftware && !allowSoftwareGpu) {
      throw new Error(
        `the only WebGPU adapter is software (${facts.description || facts.architecture || facts.vendor}); allow software GPUs to use it`,
      );
    }
    const hasSubgroups = adapter.features.has("subgroups");
    // A software adapter gains nothing by them, and takes long to compile shaders: one attempt less.
    if (withSubgroups && (!hasSubgroups || facts.isSoftware)) continue;
    const runtime = gpuRuntime(ort, await openDevice(adapter, { withSubgroups }), withPlacementLog);
    // Beside the rest of the test.
    const compiling = GpuChooser.create(runtime, config.vocabulary, facts.isSoftware);
    compiling.catch(() => undefined);
    const checks = await selfTest(runtime, config, multiplications);
    const found = faultOf([...checks, await checkChoice(runtime, await compiling, config.vocabulary)]);
    if (found === undefined) return { runtime, chooser: await compiling };
    fault = found;
    runtime.device.destroy();
  }
  throw new Error(`the GPU failed its self-test: ${fault}; use another provider`);
}

function assertFits({ slots, slotElements }: KvLayout, { vocabulary }: ModelConfig, { limits }: GPUDevice): void {
  const byteLength = slots * Math.max(slotElements, vocabulary) * FLOAT;
  const most = Math.min(limits.maxStorageBufferBindingSize, limits.maxBufferSize);
  if (byteLength > most)
    throw new Error(
      `${slots} slots need a buffer of ${byteLength} bytes; this GPU allows ${most}: use fewer or shorter slots`,
    );
}

/** The slots' keys and values on the GPU, and the stage. */
class KvCache {
  readonly #gpu: GpuRuntime;
  readonly #layout: KvLayout;
  readonly #slots: ReadonlyMap<string, GPUBuffer>;
  readonly #stage: ReadonlyMap<string, GPUBuffer>;
  /** What the stage holds: the first `length` positions of `slot`. */
  #staged: { readonly slot: number; readonly length: number } | undefined;

  constructor(gpu: GpuRuntime, layout: KvLayout) {
    this.#gpu = gpu;
    this.#layout = layout;
    const buffers = (slots: number): ReadonlyMap<string, GPUBuffer> =>
      new Map(layout.names.map((name) => [name, gpu.buffer(slots * layout.slotElements * FLOAT)]));
    this.#slots = buffers(layout.slots);
    this.#stage = buffers(1);
  }

  /** Tensors over the first `rows` slots. */
  rows(rows: number): ReadonlyMap<string, Tensor> {
    return this.#tensors(this.#slots, rows);
  }

  stage(): ReadonlyMap<string, Tensor> {
    return this.#tensors(this.#stage, 1);
  }

  /** Brings the first `length` positions of `slot` onto the stage, if they aren't there. */
  stageSlot(slot: number, length: number): void {
    const isThere = this.#staged?.slot === slot && this.#staged.length === length;
    if (!isThere) this.#copy(this.#slots, slot, this.#stage, 0, 0, length);
    this.#staged = { slot, length };
  }

  /** Copies what a chunk wrote on the stage into the slot it is for. */
  unstage(start: number, count: number): void {
    const { slot } = this.#staged!;
    this.#copy(this.#stage, 0, this.#slots, slot, start, count);
    this.#staged = { slot, length: start + count };
  }

  /** A decode step writes these positions: the stage is no copy any more where it reaches into what is staged. */
  overwrites(positions: Int32Array): void {
    const position = this.#staged && positions[this.#staged.slot];
    if (position !== undefined && position < this.#staged!.length) this.#staged = undefined;
  }

  copy(from: number, to: number, length: number): void {
    // A copy within one buffer is not allowed: by way of the stage.
    this.stageSlot(from, length);
    this.#copy(this.#stage, 0, this.#slots, to, 0, length);
    this.#staged = undefined;
  }

  destroy(): void {
    for (const buffer of [...this.#slots.values(), ...this.#stage.values()]) buffer.destroy();
  }

  #tensors(buffers: ReadonlyMap<string, GPUBuffer>, rows: number): ReadonlyMap<string, Tensor> {
    return new Map(
      [...buffers].map(([name, buffer]) => [name, this.#gpu.overBuffer(buffer, this.#layout.shape(rows))]),
    );
  }

  #copy(
    source: ReadonlyMap<string, GPUBuffer>,
    fromSlot: number,
    target: ReadonlyMap<string, GPUBuffer>,
    toSlot: number,
    start: number,
    count: number,
  ): void {
    if (count === 0) return;
    const { device } = this.#gpu;
    const { slotElements, shape } = this.#layout;
    const headDim = shape(1)[3]!;
    const encoder = device.createCommandEncoder();
    for (const [name, buffer] of source) {
      // One range per head; the ranges of slot 0 serve all slots.
      for (const { start: head } of this.#layout.ranges(0, 0)) {
        const offset = (head + start * headDim) * FLOAT;
        const slotBytes = slotElements * FLOAT;
        encoder.copyBufferToBuffer(
          buffer,
          fromSlot * slotBytes + offset,
          target.get(name)!,
          toSlot * slotBytes + offset,
          count * headDim * FLOAT,
        );
      }
    }
    device.queue.submit([encoder.finish()]);
  }
}
