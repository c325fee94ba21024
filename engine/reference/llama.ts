/**
 * The llama architecture in plain f32 arithmetic: slow, obvious, and the oracle for every provider.
 * Knows tensors and numbers only; nothing of checkpoints, graphs or ONNX Runtime.
 *
 * Matrices are row-major `[outputs, inputs]`. Rows of `query` and `key` are in the order of GGUF's llama files: rotary
 * pairs are neighbours (2i, 2i + 1) within a head.
 */
import type { ModelConfig, Runner } from "../types.ts";
import { attend, rotate } from "./attention.ts";

export interface LlamaLayerWeights {
  /** `[embedding]` */
  readonly attentionNorm: Float32Array;
  /** `[heads * headDim, embedding]` */
  readonly query: Float32Array;
  /** `[kvHeads * headDim, embedding]` */
  readonly key: Float32Array;
  readonly value: Float32Array;
  /** `[embedding, heads * headDim]` */
  readonly output: Float32Array;
  /** `[embedding]` */
  readonly feedForwardNorm: Float32Array;
  /** `[feedForward, embedding]` */
  readonly gate: Float32Array;
  readonly up: Float32Array;
  /** `[embedding, feedForward]` */
  readonly down: Float32Array;
}

export interface LlamaWeights {
  /** `[vocabulary, embedding]` */
  readonly embedding: Float32Array;
  readonly layers: readonly LlamaLayerWeights[];
  /** `[embedding]` */
  readonly outputNorm: Float32Array;
  /** `[vocabulary, embedding]`; the embedding itself where the two are tied. */
  readonly head: Float32Array;
}

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
  weights: LlamaWeights,
  { slots, slotLength }: { slots: number; slotLength: number },
): Runner {
  const { layers, heads, kvHeads, headDim, embedding, vocabulary, ropeTheta, normEpsilon } = config;
  const kvWidth = kvHeads * headDim;
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
    const hidden = weights.embedding.slice(token * embedding, (token + 1) * embedding);
    weights.layers.forEach((layer, index) => {
      const x = rmsNorm(hidden, layer.attentionNorm, normEpsilon);
      const query = multiply(layer.query, x, heads * headDim);
      const key = multiply(layer.key, x, kvWidth);
      rotate(query, headDim, position, ropeTheta);
      rotate(key, headDim, position, ropeTheta);
      const keys = slot.keys[index]!;
      const values = slot.values[index]!;
      keys.set(key, position * kvWidth);
      values.set(multiply(layer.value, x, kvWidth), position * kvWidth);
      addTo(hidden, multiply(layer.output, attend(query, keys, values, position + 1, config), embedding));

      const y = rmsNorm(hidden, layer.feedForwardNorm, normEpsilon);
      const gate = multiply(layer.gate, y, config.feedForward);
      const up = multiply(layer.up, y, config.feedForward);
      const activated = gate.map((value, i) => (value / (1 + Math.exp(-value))) * up[i]!);
      addTo(hidden, multiply(layer.down, activated, embedding));
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
