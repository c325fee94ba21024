/** Grouped-query attention with rotary embedding, for one token, in plain arithmetic: the oracle of every other implementation. */

/** Sizes are element counts. */
export interface AttentionShape {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
}

export interface RotaryOptions {
  /** Which values of a head turn together: (2i, 2i + 1), or (i, i + dims / 2). */
  readonly pairs: "neighbours" | "halves";
  /** The angle of pair i is divided by the i-th. */
  readonly factors?: ArrayLike<number> | undefined;
  /** Values of a head that turn, from its first on; the pairs are among them. All where absent. */
  readonly dims?: number | undefined;
  /** Both cos and sin are multiplied by it; 1 where absent. */
  readonly scale?: number | undefined;
}

/** Rotary position embedding (Su et al., 2021) in place, for each head of `x`. */
export function rotate(
  x: Float32Array,
  headDim: number,
  position: number,
  theta: number,
  { pairs, factors, dims = headDim, scale = 1 }: RotaryOptions = { pairs: "neighbours" },
): void {
  const half = dims / 2;
  for (let head = 0; head < x.length; head += headDim) {
    for (let i = 0; i < half; i++) {
      const angle = position / Math.pow(theta, (2 * i) / dims) / (factors?.[i] ?? 1);
      const [first, second] = pairs === "neighbours" ? [head + 2 * i, head + 2 * i + 1] : [head + i, head + i + half];
      const [a, b] = [x[first]!, x[second]!];
      x[first] = scale * (a * Math.cos(angle) - b * Math.sin(angle));
      x[second] = scale * (a * Math.sin(angle) + b * Math.cos(angle));
    }
  }
}

/**
 * Softmax attention of one query `[heads * headDim]` over the rows `first .. length - 1` of `keys` and `values`, row-major
 * `[positions, kvHeads * headDim]`. Each group of `heads / kvHeads` query heads shares a key-value head (Ainslie et al., 2023).
 * Scores are multiplied by `scale`.
 */
export function attend(
  query: Float32Array,
  keys: Float32Array,
  values: Float32Array,
  length: number,
  { heads, kvHeads, headDim }: AttentionShape,
  { first = 0, scale = 1 / Math.sqrt(headDim) }: { readonly first?: number; readonly scale?: number | undefined } = {},
): Float32Array {
  const kvWidth = kvHeads * headDim;
  const out = new Float32Array(heads * headDim);
  const scores = new Float32Array(length);
  for (let head = 0; head < heads; head++) {
    const kvOffset = Math.floor((head * kvHeads) / heads) * headDim;
    let highest = -Infinity;
    for (let p = first; p < length; p++) {
      let dot = 0;
      for (let i = 0; i < headDim; i++) dot += query[head * headDim + i]! * keys[p * kvWidth + kvOffset + i]!;
      scores[p] = dot * scale;
      highest = Math.max(highest, scores[p]!);
    }
    let total = 0;
    for (let p = first; p < length; p++) total += scores[p] = Math.exp(scores[p]! - highest);
    for (let p = first; p < length; p++) {
      const share = scores[p]! / total;
      for (let i = 0; i < headDim; i++) {
        out[head * headDim + i] = out[head * headDim + i]! + share * values[p * kvWidth + kvOffset + i]!;
      }
    }
  }
  return out;
}
