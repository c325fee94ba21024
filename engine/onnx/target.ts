/**
 * What each provider wants of a graph. The table is measured, not guessed: SmolLM2-135M, ONNX Runtime 1.30, two cores.
 *
 * native: 4-bit blocks with int8 activations are two to three times faster than f32 there. Fewer, larger multiplications
 * quantise their input once. wasm: has no n-bit kernels (16 to 30 times slower than f32), and gains nothing from fusing.
 * webgpu: recognises the unfused patterns and fuses them itself. f32: the exact twin for tests, on either CPU provider.
 */
import { hasFourBits, type LinearForm } from "./linear.ts";
import type { Matrix } from "./matrix.ts";
import { BLOCK } from "./pack.ts";

/** `wasm` is a graph for encoders only: decoders run there on kernels of the engine's own. `wasm-f32` is these kernels' exact twin for tests. */
export type Target = "native" | "wasm" | "webgpu" | "f32" | "wasm-f32";

/** Whether decoders run there on the engine's own kernels, and not as a graph. */
export const runsOnKernels = (target: Target): target is "wasm" | "wasm-f32" =>
  target === "wasm" || target === "wasm-f32";

export const TARGETS: readonly Target[] = ["native", "wasm", "webgpu", "f32", "wasm-f32"];

export interface Dialect {
  readonly target: Target;
  /** MatMulNBits' accuracy level: 4 multiplies int8 activations, 0 f32. Level 0 has no fast 8-bit kernel on `native`. */
  readonly accuracyLevel: number;
  /** Stack projections that share an input, and use one operator for SiLU. */
  readonly fuses: boolean;
  /**
   * Give attention a sink that changes nothing, to leave the CPU provider's flash path: prompts are 1.8 times faster on `wasm`; on
   * `native` a prompt is 1.2 and a step 1.2 times faster behind 1,000 tokens, and nothing is lost before.
   */
  readonly noSink: boolean;
  /** Whether rows of int8 or f16 can be gathered and made f32: a quarter or half of the embedding's memory. */
  readonly gathersNarrow: boolean;
  /** See GraphBuilder.copyStop: for graphs that run in Node's native binding. */
  readonly stopsCopies: boolean;
}

const DIALECTS: Readonly<Record<Exclude<Target, "wasm-f32">, Dialect>> = {
  native: { target: "native", accuracyLevel: 4, fuses: true, noSink: true, gathersNarrow: true, stopsCopies: true },
  wasm: { target: "wasm", accuracyLevel: 0, fuses: false, noSink: true, gathersNarrow: true, stopsCopies: false },
  webgpu: { target: "webgpu", accuracyLevel: 4, fuses: false, noSink: false, gathersNarrow: false, stopsCopies: false },
  f32: { target: "f32", accuracyLevel: 0, fuses: false, noSink: true, gathersNarrow: false, stopsCopies: true },
};

export function dialectOf(target: Target, accuracyLevel?: number): Dialect {
  const dialect = DIALECTS[runsOnKernels(target) ? "wasm" : target];
  return accuracyLevel === undefined ? dialect : { ...dialect, accuracyLevel };
}

/** Checkpoints of unquantised tensors stay so up to this many elements: small models are cheap in f32 and suffer from rounding. */
export const SMALL_MODEL_ELEMENTS = 32_000_000;

/**
 * Up to this many elements `native` stores four bits with an offset as eight, rounded: prompts take a fifth less time, steps of one row no
 * more and of eight a tenth less, for 0.3 bytes an element. Beyond it memory counts for more.
 */
const SMALL_QUANTISED_ELEMENTS = 400_000_000;

/** How `matrix` is stored for `target`, in a checkpoint of `elements` values altogether. */
export function formOf(target: Target, { format, columns }: Matrix, elements: number): LinearForm {
  if (target === "f32" || runsOnKernels(target) || columns % BLOCK !== 0) return "f32";
  const isUnquantised = format === "F32" || format === "F16" || format === "BF16";
  if (isUnquantised && elements <= SMALL_MODEL_ELEMENTS) return "f32";
  if (format === "Q4_0") return "int4";
  // With an offset, four bits cost a second multiplication, which keeps the GPU's provider from fusing the first.
  return hasFourBits(format) && target === "native" && elements > SMALL_QUANTISED_ELEMENTS ? "int4" : "int8";
}
