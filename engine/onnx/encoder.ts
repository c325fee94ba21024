/**
 * A BERT encoder (Devlin et al., 2019) with pooling as an ONNX graph. Pure: makes a graph and recipes, moves no bytes.
 *
 * Inputs: `input_ids` int64 [batch, sequence]; `position_ids` int64 [1, sequence], 0 .. sequence - 1; `attention_mask` f32
 * [batch, sequence], 1 for a token and 0 for padding. Output: `sentence_embedding` f32 [batch, embedding]. The names are those that
 * exporters give (text-run.ts knows them); what would have to be computed of whole numbers is an input, because GPUs don't do it.
 */
import { dequantise } from "../gguf/dequantise.ts";
import type { EncoderCheckpoint, EncoderConfig } from "../safetensors/encoder.ts";
import { GraphBuilder, type WeightLayout } from "./graph.ts";
import { emitLinear } from "./linear.ts";
import { bytesOf } from "./pack.ts";
import { type Dialect, dialectOf, formOf, type Target } from "./target.ts";
import { TensorShelf } from "./tensors.ts";

/** What is added to the scores of padding: far below any score, and finite, so that a row of nothing but padding is no NaN. */
const HIDDEN = -1e9;
/** Keeps the length of a zero vector from dividing by zero. */
const SHORTEST = 1e-12;

export interface EmittedEncoder {
  readonly config: EncoderConfig;
  readonly graph: Uint8Array;
  readonly layout: WeightLayout;
}

/** Emits the graph. Throws CheckpointError where a tensor is missing, has another shape than the configuration says, or would be left out. */
export function emitEncoder(
  { config, tensors }: EncoderCheckpoint,
  { target, accuracyLevel }: { readonly target: Target; readonly accuracyLevel?: number },
): EmittedEncoder {
  const emitter = new EncoderEmitter(config, new TensorShelf(tensors, "bert"), dialectOf(target, accuracyLevel));
  emitter.emit();
  return { config, ...emitter.graph.finish() };
}

class EncoderEmitter {
  readonly graph = new GraphBuilder();
  readonly #config: EncoderConfig;
  readonly #tensors: TensorShelf;
  readonly #dialect: Dialect;

  constructor(config: EncoderConfig, tensors: TensorShelf, dialect: Dialect) {
    this.#config = config;
    this.#tensors = tensors;
    this.#dialect = dialect;
  }

  emit(): void {
    const { graph } = this;
    graph.input("input_ids", "int64", ["batch", "sequence"]);
    graph.input("position_ids", "int64", [1, "sequence"]);
    graph.input("attention_mask", "float32", ["batch", "sequence"]);
    graph.output("sentence_embedding", "float32", ["batch", this.#config.embedding]);
    this.#hidePadding();
    let hidden = this.#embeddings();
    for (let layer = 0; layer < this.#config.layers; layer++) hidden = this.#layer(layer, hidden);
    this.#pool(hidden);
    this.#tensors.assertAllUsed();
  }

  /** `hidden_scores` [batch, 1, 1, sequence]: 0 for tokens, HIDDEN for padding. */
  #hidePadding(): void {
    const { graph } = this;
    graph.node("Sub", ["attention_mask", this.#scalar("one", 1)], ["padding"]);
    graph.node("Mul", ["padding", this.#scalar("hidden_score", -HIDDEN)], ["padding.scores"]);
    graph.node("Unsqueeze", ["padding.scores", this.#axes("axes.heads", 1, 2)], ["hidden_scores"]);
  }

  #embeddings(): string {
    const { graph } = this;
    const { vocabulary, positions, types, embedding } = this.#config;
    const table = (name: string, rows: number): string => {
      const { tensors, format } = this.#tensors.matrix(`embeddings.${name}_embeddings.weight`, rows, embedding);
      return graph.weight(name, "float32", [rows, embedding], {
        inputs: tensors,
        byteLength: rows * embedding * 4,
        make: ([bytes]) => bytesOf(dequantise(format, bytes!)),
      });
    };
    graph.node("Gather", [table("word", vocabulary), "input_ids"], ["words"]);
    graph.node("Gather", [table("position", positions), "position_ids"], ["places"]);
    // One text at a time: all of its tokens are of the first kind.
    const first = graph.constant("first", "int64", [1], BigInt64Array.of(0n));
    graph.node("Gather", [table("token_type", types), first], ["kind"]);
    graph.node("Add", ["words", "places"], ["placed"]);
    graph.node("Add", ["placed", "kind"], ["embedded"]);
    return this.#norm("embedded.normed", "embedded", "embeddings.LayerNorm");
  }

  #layer(layer: number, x: string): string {
    const { embedding, feedForward } = this.#config;
    const { graph } = this;
    const at = (part: string): string => `layer.${layer}.${part}`;
    const named = (part: string): string => `encoder.layer.${layer}.${part}`;
    const attended = this.#attention(layer, x);
    this.#linear(at("attention"), attended, named("attention.output.dense"), embedding, embedding);
    graph.node("Add", [x, at("attention")], [at("middle")]);
    const middle = this.#norm(at("middle.normed"), at("middle"), named("attention.output.LayerNorm"));
    this.#linear(at("wide"), middle, named("intermediate.dense"), feedForward, embedding);
    this.#gelu(at("wide"));
    this.#linear(at("narrow"), `${at("wide")}.activated`, named("output.dense"), embedding, feedForward);
    graph.node("Add", [middle, at("narrow")], [at("end")]);
    return this.#norm(at("end.normed"), at("end"), named("output.LayerNorm"));
  }

  /** Softmax attention of every token over every token, in all heads. */
  #attention(layer: number, x: string): string {
    const { embedding, heads } = this.#config;
    const { graph } = this;
    const at = (part: string): string => `layer.${layer}.${part}`;
    const split = graph.constant(
      "shape.split",
      "int64",
      [4],
      BigInt64Array.of(0n, 0n, BigInt(heads), BigInt(embedding / heads)),
    );
    const joined = graph.constant("shape.joined", "int64", [3], BigInt64Array.of(0n, 0n, BigInt(embedding)));
    // Keys with positions last, so that queries can be multiplied by them.
    for (const [part, perm] of [
      ["query", [0, 2, 1, 3]],
      ["key", [0, 2, 3, 1]],
      ["value", [0, 2, 1, 3]],
    ] as const) {
      this.#linear(at(part), x, `encoder.layer.${layer}.attention.self.${part}`, embedding, embedding);
      graph.node("Reshape", [at(part), split], [`${at(part)}.split`]);
      graph.node("Transpose", [`${at(part)}.split`], [`${at(part)}.heads`], { perm });
    }
    const scale = this.#scalar("scale", 1 / Math.sqrt(embedding / heads));
    graph.node("MatMul", [`${at("query")}.heads`, `${at("key")}.heads`], [at("products")]);
    graph.node("Mul", [at("products"), scale], [at("scores")]);
    graph.node("Add", [at("scores"), "hidden_scores"], [at("seen")]);
    graph.node("Softmax", [at("seen")], [at("shares")], { axis: -1 });
    graph.node("MatMul", [at("shares"), `${at("value")}.heads`], [at("sums")]);
    graph.node("Transpose", [at("sums")], [at("sums.rows")], { perm: [0, 2, 1, 3] });
    graph.node("Reshape", [at("sums.rows"), joined], [at("attended")]);
    return at("attended");
  }

  /** The exact one: x / 2 * (1 + erf(x / sqrt(2))). */
  #gelu(x: string): void {
    const { graph } = this;
    graph.contrib("Gelu", [x], [`${x}.activated`]);
  }

  /** One vector of each row: the mean of its tokens or the first one; of length 1 where the model wants it. */
  #pool(hidden: string): void {
    const { graph } = this;
    const { pooling, normalises } = this.#config;
    const pooled = normalises ? "pooled" : "sentence_embedding";
    const sequence = this.#axes("axes.sequence", 1);
    if (pooling === "cls") {
      const first = graph.constant("first.token", "int64", [], BigInt64Array.of(0n));
      graph.node("Gather", [hidden, first], [pooled], { axis: 1 });
    } else {
      graph.node("Unsqueeze", ["attention_mask", this.#axes("axes.last", 2)], ["mask.column"]);
      graph.node("Mul", [hidden, "mask.column"], ["tokens"]);
      graph.node("ReduceSum", ["tokens", sequence], ["total"], { keepdims: 0 });
      graph.node("ReduceSum", ["attention_mask", sequence], ["count"], { keepdims: 1 });
      graph.node("Max", ["count", this.#scalar("one", 1)], ["count.least"]);
      graph.node("Div", ["total", "count.least"], [pooled]);
    }
    if (!normalises) return;
    graph.node("Mul", [pooled, pooled], ["squares"]);
    graph.node("ReduceSum", ["squares", sequence], ["square"], { keepdims: 1 });
    graph.node("Sqrt", ["square"], ["length"]);
    graph.node("Max", ["length", this.#scalar("shortest", SHORTEST)], ["length.least"]);
    graph.node("Div", [pooled, "length.least"], ["sentence_embedding"]);
  }

  #norm(name: string, x: string, tensor: string): string {
    const { embedding, normEpsilon } = this.#config;
    const weight = this.#tensors.normWeight(this.graph, `${name}.weight`, `${tensor}.weight`, embedding);
    const bias = this.#tensors.vector(this.graph, `${name}.bias`, [`${tensor}.bias`], embedding);
    this.graph.node("LayerNormalization", [x, weight, bias], [name], { axis: -1, epsilon: { float: normEpsilon } });
    return name;
  }

  #linear(output: string, x: string, name: string, rows: number, columns: number): void {
    const matrix = this.#tensors.matrix(`${name}.weight`, rows, columns);
    const { target, accuracyLevel } = this.#dialect;
    const form = formOf(target, matrix, this.#tensors.elements);
    emitLinear(this.graph, { name: `${output}.weight`, x, y: `${output}.unbiased`, matrix, form, accuracyLevel });
    const bias = this.#tensors.vector(this.graph, `${output}.bias`, [`${name}.bias`], rows);
    this.graph.node("Add", [`${output}.unbiased`, bias], [output]);
  }

  #scalar(name: string, value: number): string {
    return this.graph.constant(name, "float32", [1], Float32Array.of(value));
  }

  #axes(name: string, ...axes: number[]): string {
    return this.graph.constant(name, "int64", [axes.length], BigInt64Array.from(axes, BigInt));
  }
}
