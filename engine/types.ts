/**
 * The engine's inner seams: what a checkpoint says of itself, what a provider can run, what a generation asks for.
 * Knows nothing of the mesh, of threads or of files.
 */
import type { Choice, Draw } from "./choice.ts";

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
  /** Values of a head that are rotated, from its first on: an even number; all where absent. */
  readonly ropeDim?: number;
  /** The rotary angle of pair i is divided by the i-th of these numbers; not in layers with a window of their own base. */
  readonly ropeFactors?: readonly number[];
  /** What cos and sin of the rotary angles are multiplied by, in the same layers; 1 where absent. */
  readonly ropeScale?: number;
  readonly longRope?: LongRope;
  /** What attention scores are multiplied by; `1 / sqrt(headDim)` where absent. */
  readonly attentionScale?: number;
  /** What embeddings are multiplied by; 1 where absent. */
  readonly embeddingScale?: number;
  readonly window?: AttentionWindow;
}

/** Factors of rotary angles that depend on how long a slot is; absent lists are tensors of the checkpoint. */
export interface LongRope {
  /** Tokens of the context of training: slots up to it have the short factors, longer ones the long. */
  readonly original: number;
  readonly short?: readonly number[];
  readonly long?: readonly number[];
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
   * The same chunk, of at most `PREFILL_SCORED_TOKENS`, with the logits after each of its tokens: `[tokens.length * vocabulary]`, row-major,
   * valid until the next call.
   */
  prefillScored(slot: number, tokens: Int32Array, start: number): Promise<Float32Array>;
  /**
   * One step of the dense batch: row i is slot i (0 .. tokens.length - 1); `tokens[i]` is written at position `positions[i]`.
   * Returns logits `[rows * vocabulary]`, row-major, valid until the next call.
   */
  decode(tokens: Int32Array, positions: Int32Array): Promise<Float32Array>;
  /**
   * The same steps with the next tokens chosen where the logits are, which never come to the host whole; absent where they are on the host
   * anyway. `draws[i]` is asked of row i; where it is undefined so is the choice. Rejects where logits that are asked of are not usable: not
   * finite, or all the same.
   */
  readonly choosing?: {
    prefill(slot: number, tokens: Int32Array, start: number, draw: Draw): Promise<Choice>;
    decode(
      tokens: Int32Array,
      positions: Int32Array,
      draws: readonly (Draw | undefined)[],
    ): Promise<readonly (Choice | undefined)[]>;
  };
  /** Copies the first `length` positions of slot `from` to slot `to` (compaction when a row leaves; prefix reuse). */
  copySlot(from: number, to: number, length: number): Promise<void>;
  /** Resolves with a reason when the device is gone, though nothing runs; absent where there is none to lose. */
  readonly lost?: Promise<string>;
  release(): Promise<void>;
}

/** How the next token is chosen. Temperature 0 is greedy: of the rest only bias and penalties count. */
export interface SamplingParameters {
  /** From 0 to 100. */
  readonly temperature: number;
  /** Only the best so many tokens; 0 for no limit. */
  readonly topK: number;
  /** Only the best tokens that together have this probability, above 0 and at most 1. */
  readonly topP: number;
  /** Only tokens at least this likely, as a part of the best one's probability, from 0 to 1. */
  readonly minP: number;
  /** Divides the scores of tokens seen in prompt or answer; 1 for none. */
  readonly repetitionPenalty: number;
  /** Taken from the score of a token that the answer has, from -2 to 2. */
  readonly presencePenalty: number;
  /** Taken from the score of a token for each time that the answer has it, from -2 to 2. */
  readonly frequencyPenalty: number;
  /** Added to the score of a token, by its id, from -100 to 100. */
  readonly logitBias: Readonly<Record<number, number>>;
  /** A non-negative safe integer. Equal seeds give equal answers. */
  readonly seed: number;
}

/** What the model itself thought of a token, before bias, penalties, temperature and filters. */
export interface TokenLogprob {
  readonly token: number;
  /** In nats. */
  readonly logprob: number;
}

export interface ChosenLogprob extends TokenLogprob {
  /** The best tokens there, best first. */
  readonly top: readonly TokenLogprob[];
}

/** What the model thought of a prompt's token, by those before it. */
export interface PromptLogprob extends ChosenLogprob {
  /** Its place among all tokens there: 1 for the likeliest. */
  readonly rank: number;
}

export type FinishReason = "stop" | "length" | "cancelled";
