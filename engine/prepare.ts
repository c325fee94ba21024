/**
 * Checkpoint to what a provider loads: a graph, its weights, the tokenizer's metadata. Weights are made one tensor at a time, so that
 * no second copy of the model exists. Platform-neutral: sources and sinks are arguments.
 */
import { type Checkpoint, readTensor } from "./checkpoint.ts";
import { ggufCheckpoint } from "./gguf/checkpoint.ts";
import { readGgufHeader } from "./gguf/header.ts";
import type { ByteSource } from "./gguf/source.ts";
import { planDecoder } from "./kernels/decoder-weights.ts";
import type { WeightLayout, WeightPart } from "./onnx/graph.ts";
import { emitDecoder, type EmitOptions, type EmittedModel } from "./onnx/decoder.ts";
import { runsOnKernels, type Target } from "./onnx/target.ts";
import type { TokenizerDescription } from "./tokenizer/description.ts";
import type { ModelConfig } from "./types.ts";

/**
 * Synchronous access to the weights' bytes: ONNX Runtime's WASM asks for one tensor at a time from within a synchronous call. A
 * `Uint8Array` is one; so is an object that reads a file or makes tensors on demand. `subarray` may return a fresh array each time.
 */
export interface Weights {
  readonly byteLength: number;
  subarray(start: number, end: number): Uint8Array;
}

/** A model ready to be loaded by a provider. */
export interface PreparedModel {
  readonly target: Target;
  readonly config: ModelConfig;
  /** The longest slot that the graph allows. */
  readonly positions: number;
  /**
   * ONNX ModelProto; its large tensors lie in `weights` under the name WEIGHTS_FILE. For `wasm`, which runs no graph, a `StoredDecoder` as
   * JSON.
   */
  readonly graph: Uint8Array;
  readonly weights: Weights;
  readonly tokenizer: TokenizerDescription;
  /** Where graph and weights lie as `model.onnx` and `weights.bin`, for providers that load from disk by themselves. */
  readonly directory?: string;
}

/** A plan: everything but the weights' bytes. */
export interface Preparation extends EmittedModel {
  readonly tokenizer: TokenizerDescription;
}

/** Bytes of weights made so far, of `total`. */
export type PrepareProgress = (progress: { readonly done: number; readonly total: number }) => void;

/** Reads a GGUF file's header and plans the conversion. Throws CheckpointError for files that can't be used. */
export async function planPreparation(source: ByteSource, options: EmitOptions): Promise<Preparation> {
  return planCheckpoint(ggufCheckpoint(await readGgufHeader(source)), options);
}

/** Plans the conversion of a checkpoint whose headers were read. Throws CheckpointError where it can't be run. */
export function planCheckpoint(checkpoint: Checkpoint, options: EmitOptions): Preparation {
  const { config, tokenizer } = checkpoint;
  const { target, slotLength } = options;
  if (!runsOnKernels(target)) return { ...emitDecoder(checkpoint, options), tokenizer };
  const { decoder, ...rest } = planDecoder(checkpoint, { isExact: target === "wasm-f32", slotLength });
  return { target, config, graph: new TextEncoder().encode(JSON.stringify(decoder)), ...rest, tokenizer };
}

/** Makes one tensor of the weights. */
export async function makePart(part: WeightPart, source: ByteSource): Promise<Uint8Array> {
  const inputs: Uint8Array[] = [];
  for (const tensor of part.inputs) inputs.push(await readTensor(tensor, source));
  const made = part.make(inputs);
  if (made.byteLength !== part.byteLength) {
    throw new Error(
      `a weight at byte ${part.offset} came out as ${made.byteLength} bytes instead of ${part.byteLength}`,
    );
  }
  return made;
}

/** Makes all weights in order and hands each to `write` with its offset; awaits it before making the next. */
export async function streamWeights(
  { parts, byteLength }: WeightLayout,
  source: ByteSource,
  write: (offset: number, bytes: Uint8Array) => Promise<void> | void,
  onProgress?: PrepareProgress,
): Promise<void> {
  for (const part of parts) {
    await write(part.offset, await makePart(part, source));
    onProgress?.({ done: part.offset + part.byteLength, total: byteLength });
  }
}

/** Converts a GGUF file into memory: for tabs, and for small models in tests. */
export async function prepareInMemory(
  source: ByteSource,
  options: EmitOptions,
  onProgress?: PrepareProgress,
): Promise<PreparedModel> {
  return convertInMemory(await planPreparation(source, options), source, onProgress);
}

/** Converts what was planned into memory. */
export async function convertInMemory(
  { layout, ...rest }: Preparation,
  source: ByteSource,
  onProgress?: PrepareProgress,
): Promise<PreparedModel> {
  return { ...rest, weights: await weightsInMemory(layout, source, onProgress) };
}

/** All weights in one piece. */
export async function weightsInMemory(
  layout: WeightLayout,
  source: ByteSource,
  onProgress?: PrepareProgress,
): Promise<Uint8Array> {
  const weights = new Uint8Array(layout.byteLength);
  await streamWeights(layout, source, (offset, bytes) => weights.set(bytes, offset), onProgress);
  return weights;
}
