/**
 * The decoders in plain f32 arithmetic: slow, obvious, and the oracle for every provider. Written from the papers and the models' own
 * code, not from the emitter: what a model has beyond llama is what its weights and configuration contain.
 * Knows tensors and numbers only; nothing of checkpoints, graphs or ONNX Runtime.
 *
 * Matrices are row-major `[outputs, inputs]`.
 */
import type { ArchitectureName, ModelConfig, Runner } from "../types.ts";
import { attend, rotate } from "./attention.ts";

export interface LayerWeights {
  /** `[embedding]` */
  readonly attentionNorm: Float32Array;
  /** `[heads * headDim, embedding]` */
  readonly query: Float32Array;
  /** `[kvHeads * headDim, embedding]` */
  readonly key: Float32Array;
  readonly value: Float32Array;
  /** One value per row of the matrix above. */
  readonly queryBias?: Float32Array | undefined;
  readonly keyBias?: Float32Array | undefined;
  readonly valueBias?: Float32Array | undefined;
  /** `[headDim]`: the norm of each head before it is rotated. */
  readonly queryNorm?: Float32Array | undefined;
  readonly keyNorm?: Float32Array | undefined;
  /** `[embedding, heads * headDim]` */
  readonly output: Float32Array;
  /** `[embedding]`: the norm of attention's result before it is added. */
  readonly attentionPostNorm?: Float32Array | undefined;
  readonly feedForwardNorm: Float32Array;
  /** `[feedForward, embedding]` */
  readonly gate: Float32Array;
  readonly up: Float32Array;
  /** `[embedding, feedForward]` */
  readonly down: Float32Array;
  readonly feedForwardPostNorm?: Float32Array | undefined;
}

export interface DecoderWeights {
  /** `[vocabulary, embedding]` */
  readonly embedding: Float32Array;
  readonly layers: readonly LayerWeights[];
  /** `[embedding]` */
  readonly outputNorm: Float32Array;
  /** `[vocabulary, embedding]`; the embedding itself where the two are tied. */
  readonly head: Float32Array;
  /** Order of the rows of `query` and `key`: GGUF's llama files have a rotary pair side by side, all others half a head apart. */
  readonly rotaryPairs: "neighbours" | "halves";
}

const silu = (x: number): number => x / (1 + Math.exp(-x));
/** Hendrycks and Gimpel's (2016) approximation. */
const geluTanh = (x: number): number => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
const ACTIVATIONS: Readonly<Record<ArchitectureName, (x: number) => number>> = {
  llama: silu,
  qwen2: silu,
  qwen3: silu,
  phi3: silu,
  gemma3: geluTanh,
};

/** y = W x for row-major `W [rows, x.length]`. */
function multiply(matrix: Float32Array, x: Float32Array, rows: number): Float32Array {
  const columns = x.length;
  const y = new Float32Array(rows);
  for (let row = 0; row < rows; row++) {
    let sum = 0;
    const offset = row * columns;
    for (let column = 0; column < columns; column++) sum += matrix[offset + column]! * x[column]!;
    y[row] = sum;
  }
  return y;
}

/** Root-mean-square norm (Zhang and Sennrich, 2019). */
function rmsNorm(x: Float32Array, weight: Float32Array, epsilon: number): Float32Array {
  let squares = 0;
  for (const value of x) squares += value * value;
  const scale = 1 / Math.sqrt(squares / x.length + epsilon);
  return x.map((value, i) => value * scale * weight[i]!);
}

/** The norm of each stretch of `weight.length` by itself. */
function normHeads(x: Float32Array, weight: Float32Array | undefined, epsilon: number): void {
  if (weight === undefined) return;
  for (let at = 0; at < x.length; at += weight.length)
    x.set(rmsNorm(x.subarray(at, at + weight.length), weight, epsilon), at);
}

function addTo(target: Float32Array, source: Float32Array): void {
  for (let i = 0; i < target.length; i++) target[i] = target[i]! + source[i]!;
}

/** Keys and values of one slot: one row of `kvHeads * headDim` per position, per layer. */
interface Slot {
  readonly keys: Float32Array[];
  readonly values: Float32Array[];
}

/** Makes a `Runner` from plain tensors. Slots out of range and positions beyond `slotLength` throw. */
export function createReferenceRunner(
  config: ModelConfig,
  weights: DecoderWeights,
  { slots, slotLength }: { slots: number; slotLength: number },
): Runner {
  const { layers, heads, kvHeads, headDim, embedding, vocabulary, normEpsilon, window } = config;
  const activate = ACTIVATIONS[config.architecture];
  const kvWidth = kvHeads * headDim;
  // LongRoPE has two lists; which one holds is a matter of how long a sequence may get, and doesn't change while it grows.
  const { longRope } = config;
  const factors = slotLength > (longRope?.original ?? Infinity) ? longRope?.long : longRope?.short;
  const stretched = { factors: factors ?? config.ropeFactors, scale: config.ropeScale };
  const store: Slot[] = Array.from({ length: slots }, () => ({
    keys: Array.from({ length: layers }, () => new Float32Array(slotLength * kvWidth)),
    values: Array.from({ length: layers }, () => new Float32Array(slotLength * kvWidth)),
  }));

  function slotAt(index: number): Slot {
    const slot = store[index];
    if (slot === undefined) throw new RangeError(`slot ${index} does not exist: the runner has ${slots}`);
    return slot;
  }

  /** Runs one token through all layers; writes its keys and values; returns the final hidden state `[embedding]`. */
  function forward(slot: Slot, token: number, position: number): Float32Array {
    if (token < 0 || token >= vocabulary)
      throw new RangeError(`token ${token} is outside the vocabulary of ${vocabulary}`);
    if (position >= slotLength) throw new RangeError(`position ${position} is beyond the slot of ${slotLength} tokens`);
    const hidden = weights.embedding
      .slice(token * embedding, (token + 1) * embedding)
      .map((value) => value * (config.embeddingScale ?? 1));
    weights.layers.forEach((layer, index) => {
      // Counted from one, as the models' papers do: "five local layers, then a global one".
      const seesAll =
        window === undefined || (window.globalEvery !== undefined && (index + 1) % window.globalEvery === 0);
      const ownBase = seesAll ? undefined : window?.ropeTheta;
      const theta = ownBase ?? config.ropeTheta;
      const rotary = { pairs: weights.rotaryPairs, dims: config.ropeDim, ...(ownBase === undefined && stretched) };
      const x = rmsNorm(hidden, layer.attentionNorm, normEpsilon);
      const query = multiply(layer.query, x, heads * headDim);
      const key = multiply(layer.key, x, kvWidth);
      const value = multiply(layer.value, x, kvWidth);
      if (layer.queryBias) addTo(query, layer.queryBias);
      if (layer.keyBias) addTo(key, layer.keyBias);
      if (layer.valueBias) addTo(value, layer.valueBias);
      normHeads(query, layer.queryNorm, normEpsilon);
      normHeads(key, layer.keyNorm, normEpsilon);
      rotate(query, headDim, position, theta, rotary);
      rotate(key, headDim, position, theta, rotary);
      const keys = slot.keys[index]!;
      const values = slot.values[index]!;
      keys.set(key, position * kvWidth);
      values.set(value, position * kvWidth);
      const seen = {
        first: seesAll ? 0 : Math.max(0, position + 1 - window.length),
        scale: config.attentionScale,
      };
      const attended = multiply(layer.output, attend(query, keys, values, position + 1, config, seen), embedding);
      addTo(hidden, layer.attentionPostNorm ? rmsNorm(attended, layer.attentionPostNorm, normEpsilon) : attended);

      const y = rmsNorm(hidden, layer.feedForwardNorm, normEpsilon);
      const gate = multiply(layer.gate, y, config.feedForward);
      const up = multiply(layer.up, y, config.feedForward);
      const fed = multiply(
        layer.down,
        gate.map((value, i) => activate(value) * up[i]!),
        embedding,
      );
      addTo(hidden, layer.feedForwardPostNorm ? rmsNorm(fed, layer.feedForwardPostNorm, normEpsilon) : fed);
    });
    return hidden;
  }

  const logitsOf = (hidden: Float32Array): Float32Array =>
    multiply(weights.head, rmsNorm(hidden, weights.outputNorm, normEpsilon), vocabulary);

  return {
    provider: "reference",
    config,
    slots,
    slotLength,
    async prefill(slotIndex, tokens, start, wantLogits) {
      const slot = slotAt(slotIndex);
      let hidden: Float32Array | undefined;
      tokens.forEach((token, i) => (hidden = forward(slot, token, start + i)));
      return wantLogits && hidden ? logitsOf(hidden) : undefined;
    },
    async prefillScored(slotIndex, tokens, start) {
      const logits = new Float32Array(tokens.length * vocabulary);
      tokens.forEach((token, i) => logits.set(logitsOf(forward(slotAt(slotIndex), token, start + i)), i * vocabulary));
      return logits;
    },
    async decode(tokens, positions) {
      const logits = new Float32Array(tokens.length * vocabulary);
      tokens.forEach((token, row) =>
        logits.set(logitsOf(forward(slotAt(row), token, positions[row]!)), row * vocabulary),
      );
      return logits;
    },
    async copySlot(from, to, length) {
      const source = slotAt(from);
      const target = slotAt(to);
      for (let layer = 0; layer < layers; layer++) {
        target.keys[layer]!.set(source.keys[layer]!.subarray(0, length * kvWidth));
        target.values[layer]!.set(source.values[layer]!.subarray(0, length * kvWidth));
      }
    },
    async release() {
      store.length = 0;
    },
  };
}
