/**
 * The engine's inner seams: what a checkpoint says of itself, what a provider can run, what a generation asks for.
 * Knows nothing of the mesh, of threads or of files.
 */

/** Kinds of decoders that can be run; `engine/architectures.ts` says what sets them apart. */
export type ArchitectureName = "llama" | "qwen2" | "qwen3" | "gemma3" | "phi3";

/** Hyper-parameters of a decoder, read from the checkpoint's metadata. Sizes are element counts. JSON-safe. */
export interface ModelConfig {
  readonly architecture: ArchitectureName;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly embedding: number;
  readonly feedForward: number;
  readonly vocabulary: number;
  readonly contextLength: number;
  readonly ropeTheta: number;
  readonly normEpsilon: number;
  /** The rotary angle of pair i is divided by the i-th of these `headDim / 2` numbers; not in layers with a window of their own base. */
  readonly ropeFactors?: readonly number[];
  /** What attention scores are multiplied by; `1 / sqrt(headDim)` where absent. */
  readonly attentionScale?: number;
  /** What embeddings are multiplied by; 1 where absent. */
  readonly embeddingScale?: number;
  readonly window?: AttentionWindow;
}

/** Layers that see the latest tokens only. */
export interface AttentionWindow {
  /** Tokens that a token sees, itself included. */
  readonly length: number;
  /** Every n-th layer sees everything; none does where absent. */
  readonly globalEvery?: number;
  /** Rotary base of the layers with the window, where it is another. */
  readonly ropeTheta?: number;
}

/** Whether a layer sees everything. */
export function isGlobalLayer({ window }: ModelConfig, layer: number): boolean {
  return window === undefined || (window.globalEvery !== undefined && (layer + 1) % window.globalEvery === 0);
}

export type ProviderName = "native" | "wasm" | "webgpu";

/**
 * One loaded model with its KV cache: `slots` sequences of at most `slotLength` tokens each.
 * Calls must not overlap: the engine loop awaits each before the next (ONNX Runtime breaks on concurrent runs).
 */
export interface Runner {
  /** "reference" is the plain TypeScript oracle of tests. */
  readonly provider: ProviderName | "reference";
  readonly config: ModelConfig;
  readonly slots: number;
  readonly slotLength: number;
  /**
   * Runs one chunk of one sequence's prompt. `tokens` go to positions `start .. start + tokens.length - 1` of `slot`;
   * positions before `start` must already be there. Returns the logits `[vocabulary]` after the last token of the chunk
   * when `wantLogits`, else undefined. The array is valid until the next call.
   */
  prefill(slot: number, tokens: Int32Array, start: number, wantLogits: boolean): Promise<Float32Array | undefined>;
  /**
   * One step of the dense batch: row i is slot i (0 .. tokens.length - 1); `tokens[i]` is written at position `positions[i]`.
   * Returns logits `[rows * vocabulary]`, row-major, valid until the next call.
   */
  decode(tokens: Int32Array, positions: Int32Array): Promise<Float32Array>;
  /** Copies the first `length` positions of slot `from` to slot `to` (compaction when a row leaves; prefix reuse). */
  copySlot(from: number, to: number, length: number): Promise<void>;
  release(): Promise<void>;
}

/** How the next token is chosen. Temperature 0 is greedy and ignores the rest but penalties. */
export interface SamplingParameters {
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly minP: number;
  readonly repetitionPenalty: number;
  readonly seed: number;
}

export type FinishReason = "stop" | "length" | "cancelled";
