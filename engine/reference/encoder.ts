/**
 * BERT (Devlin et al., 2019) with mean pooling in plain f32 arithmetic, one text at a time: the oracle of the encoder's graph. Matrices are
 * row-major `[outputs, inputs]`, under the Transformers library's names.
 */
export interface EncoderSizes {
  readonly layers: number;
  readonly heads: number;
  readonly embedding: number;
  readonly normEpsilon: number;
}

type Vector = Float32Array;

/** The unit vector of the text whose tokens are `ids`. */
export function referenceEmbedding(
  { layers, heads, embedding, normEpsilon }: EncoderSizes,
  weights: ReadonlyMap<string, Float32Array>,
  ids: readonly number[],
): Vector {
  const get = (name: string): Float32Array => weights.get(name)!;
  const row = (table: string, index: number): Vector => get(table).slice(index * embedding, (index + 1) * embedding);
  const add = (a: Vector, b: Vector): Vector => a.map((value, i) => value + b[i]!);
  const linear = (name: string, x: Vector): Vector => {
    const matrix = get(`${name}.weight`);
    return get(`${name}.bias`).map((bias, r) =>
      x.reduce((sum, value, c) => sum + value * matrix[r * x.length + c]!, bias),
    );
  };
  const norm = (name: string, x: Vector): Vector => {
    const mean = x.reduce((sum, value) => sum + value, 0) / x.length;
    const variance = x.reduce((sum, value) => sum + (value - mean) ** 2, 0) / x.length;
    const [weight, bias] = [get(`${name}.weight`), get(`${name}.bias`)];
    return x.map((value, i) => ((value - mean) / Math.sqrt(variance + normEpsilon)) * weight[i]! + bias[i]!);
  };

  let hidden = ids.map((id, position) => {
    const words = row("embeddings.word_embeddings.weight", id);
    const places = row("embeddings.position_embeddings.weight", position);
    return norm("embeddings.LayerNorm", add(add(words, places), row("embeddings.token_type_embeddings.weight", 0)));
  });
  const size = embedding / heads;
  for (let layer = 0; layer < layers; layer++) {
    const at = (part: string): string => `encoder.layer.${layer}.${part}`;
    const [queries, keys, values] = ["query", "key", "value"].map((part) =>
      hidden.map((x) => linear(at(`attention.self.${part}`), x)),
    ) as [Vector[], Vector[], Vector[]];
    hidden = hidden.map((x, i) => {
      const attended = new Float32Array(embedding);
      for (let head = 0; head < heads; head++) {
        const part = (vector: Vector): Vector => vector.subarray(head * size, (head + 1) * size);
        const scores = keys.map(
          (key) => part(key).reduce((sum, value, c) => sum + value * part(queries[i]!)[c]!, 0) / Math.sqrt(size),
        );
        const most = Math.max(...scores);
        const shares = scores.map((score) => Math.exp(score - most));
        const total = shares.reduce((sum, share) => sum + share, 0);
        values.forEach((value, p) =>
          part(value).forEach((v, c) => (attended[head * size + c]! += (shares[p]! / total) * v)),
        );
      }
      const middle = norm(at("attention.output.LayerNorm"), add(x, linear(at("attention.output.dense"), attended)));
      const wide = linear(at("intermediate.dense"), middle).map((value) => 0.5 * value * (1 + erf(value / Math.SQRT2)));
      return norm(at("output.LayerNorm"), add(middle, linear(at("output.dense"), wide)));
    });
  }
  const mean = hidden.reduce((sum, x) => add(sum, x), new Float32Array(embedding)).map((value) => value / ids.length);
  const length = Math.sqrt(mean.reduce((sum, value) => sum + value * value, 0));
  return mean.map((value) => value / length);
}

/** The error function by its Taylor series: all values here are small. */
function erf(x: number): number {
  if (Math.abs(x) > 4) return Math.sign(x);
  let term = x;
  let sum = x;
  for (let n = 1; n < 80; n++) {
    term *= -(x * x) / n;
    sum += term / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * sum;
}
