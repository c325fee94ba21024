/** Grouped-query attention with rotary embedding, for one token, in plain arithmetic: the oracle of every other implementation. */

/** Sizes are element counts. */
export interface AttentionShape {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
}

/** Rotary position embedding (Su et al., 2021) in place, for each head's neighbouring pairs (2i, 2i + 1). */
export function rotate(x: Float32Array, headDim: number, position: number, theta: number): void {
  for (let i = 0; i < x.length; i += 2) {
    const angle = position / Math.pow(theta, (i % headDim) / headDim);
    const cos = Math.cos(angle);
    const sin = Math.sin(angle);
    const a = x[i]!;
    const b = x[i + 1]!;
    x[i] = a * cos - b * sin;
    x[i + 1] = a * sin + b * cos;
  }
}

/**
 * Softmax attention of one query `[heads * headDim]` over the first `length` rows of `keys` and `values`, row-major
 * `[positions, kvHeads * headDim]`. Each group of `heads / kvHeads` query heads shares a key-value head (Ainslie et al., 2023).
 */
export function attend(
  query: Float32Array,
  keys: Float32Array,
  values: Float32Array,
  length: number,
  { heads, kvHeads, headDim }: AttentionShape,
): Float32Array {
  const kvWidth = kvHeads * headDim;
  const out = new Float32Array(heads * headDim);
  const scores = new Float32Array(length);
  for (let head = 0; head < heads; head++) {
    const kvOffset = Math.floor((head * kvHeads) / heads) * headDim;
    let highest = -Infinity;
    for (let p = 0; p < length; p++) {
      let dot = 0;
      for (let i = 0; i < headDim; i++) dot += query[head * headDim + i]! * keys[p * kvWidth + kvOffset + i]!;
      scores[p] = dot / Math.sqrt(headDim);
      highest = Math.max(highest, scores[p]!);
    }
    let total = 0;
    for (let p = 0; p < length; p++) total += scores[p] = Math.exp(scores[p]! - highest);
    for (let p = 0; p < length; p++) {
      const share = scores[p]! / total;
      for (let i = 0; i < headDim; i++) {
        out[head * headDim + i] = out[head * headDim + i]! + share * values[p * kvWidth + kvOffset + i]!;
      }
    }
  }
  return out;
}
