/**
 * A decoder as an ONNX graph with in-place KV slots, from a checkpoint and its architecture's row in the table. Pure: makes a graph and
 * recipes, moves no bytes.
 *
 * Inputs: `input_ids` int64 [batch, sequence]; `seqlens_k` int32 [batch], each row's length minus one; `total_len` int32 [1], the longest
 * row's length (on the CPU for every provider); `sel` int64 [rows], the flattened positions whose logits are wanted; `past.<layer>.k|v`
 * f32 [batch, kvHeads, positions, headDim]. Outputs: in graphs for the native provider first COPY_STOP; `present.<layer>.k|v`, to be bound
 * to the memory of the past; `logits` f32 [rows, 1, vocabulary]. GroupQueryAttention allows batch > 1 only with sequence = 1 once there
 * is a past.
 */
import { type Architecture, ARCHITECTURES } from "../architectures.ts";
import type { Checkpoint } from "../checkpoint.ts";
import { isGlobalLayer, type ModelConfig } from "../types.ts";
import { emitEmbedding } from "./embedding.ts";
import { GraphBuilder, type WeightLayout } from "./graph.ts";
import { emitLinear } from "./linear.ts";
import { canStack, type Matrix, rotaryOrder, stack, withHeadOrder } from "./matrix.ts";
import { bytesOf } from "./pack.ts";
import { fillTable, Rotary } from "./rotary.ts";
import { type Dialect, dialectOf, formOf, type Target } from "./target.ts";
import { TensorShelf } from "./tensors.ts";

/** A "sink" that draws no attention: the results stay the same, but ONNX Runtime's CPU provider leaves a path that is slow in WASM. */
const NO_SINK = -1e30;

export interface EmittedModel {
  readonly target: Target;
  readonly config: ModelConfig;
  /** Positions that the rotary tables cover: the longest slot that works. */
  readonly positions: number;
  /** ONNX ModelProto. */
  readonly graph: Uint8Array;
  readonly layout: WeightLayout;
}

export interface EmitOptions {
  readonly target: Target;
  /**
   * Tokens of the slots that the graph is for, where its rotary tables depend on it: those for short slots where absent. Slots are never longer
   * than `EmittedModel.positions`.
   */
  readonly slotLength?: number;
  /** Overrides the target's MatMulNBits accuracy level; 0 computes in f32. */
  readonly accuracyLevel?: number;
}

/** Emits the graph. Throws CheckpointError where a tensor is missing, has another shape than the metadata says, or would be left out. */
export function emitDecoder(checkpoint: Checkpoint, { target, accuracyLevel, slotLength }: EmitOptions): EmittedModel {
  const emitter = new DecoderEmitter(checkpoint, dialectOf(target, accuracyLevel), slotLength);
  emitter.emit();
  return { target, config: checkpoint.config, positions: emitter.rotary.positions, ...emitter.graph.finish() };
}

class DecoderEmitter {
  readonly graph = new GraphBuilder();
  readonly rotary: Rotary;
  readonly #checkpoint: Checkpoint;
  readonly #config: ModelConfig;
  readonly #architecture: Architecture;
  readonly #dialect: Dialect;
  readonly #tensors: TensorShelf;

  constructor(checkpoint: Checkpoint, dialect: Dialect, slotLength: number | undefined) {
    const { config } = checkpoint;
    this.#checkpoint = checkpoint;
    this.#config = config;
    this.#architecture = ARCHITECTURES[config.architecture];
    this.#dialect = dialect;
    this.#tensors = new TensorShelf(checkpoint.tensors, config.architecture, checkpoint.normOffset);
    this.rotary = new Rotary(config, this.#tensors, slotLength);
  }

  emit(): void {
    const { layers, vocabulary, embedding } = this.#config;
    const { graph } = this;
    if (this.#dialect.stopsCopies) graph.copyStop();
    graph.input("input_ids", "int64", ["batch", "sequence"]);
    graph.input("seqlens_k", "int32", ["batch"]);
    graph.input("total_len", "int32", [1]);
    graph.input("sel", "int64", ["rows"]);
    const table = this.#tensors.matrix("token_embd.weight", vocabulary, embedding);
    let residual = this.#scaled(emitEmbedding(graph, table, "input_ids", this.#dialect));
    let branch: string | undefined;
    for (let layer = 0; layer < layers; layer++) {
      [residual, branch] = this.#layer(layer, residual, branch);
    }
    this.#head(residual, branch!);
    this.#tensors.assertAllUsed();
  }

  #scaled(embedded: string): string {
    const { embeddingScale } = this.#config;
    if (embeddingScale === undefined) return embedded;
    const scale = this.graph.constant("embedding_scale", "float32", [1], Float32Array.of(embeddingScale));
    this.graph.node("Mul", [embedded, scale], ["embedded.scaled"]);
    return "embedded.scaled";
  }

  /** cos and sin of the angles, scaled, for layers with or without a base of their own; pairs that don't turn stay where they are. */
  #rotaryTables(layer: number): readonly [string, string] {
    const { name: kind, scale, inputs, paces } = this.rotary.of(layer);
    const { positions } = this.rotary;
    const half = this.#config.headDim / 2;
    const table = (name: string, wave: (angle: number) => number): string =>
      this.graph.once(name, () =>
        this.graph.weight(name, "float32", [positions, half], {
          inputs,
          byteLength: positions * half * 4,
          make: (bytes) => {
            const out = new Float32Array(positions * half);
            fillTable(out, { paces: paces(bytes), scale, pairs: half }, wave);
            return bytesOf(out);
          },
        }),
      );
    return [table(`${kind}.cos`, Math.cos), table(`${kind}.sin`, Math.sin)];
  }

  /** One block; takes the residual stream and what is still to be added to it, and returns both. */
  #layer(layer: number, residual: string, branch: string | undefined): [string, string] {
    const { embedding, heads, headDim, feedForward } = this.#config;
    const at = (part: string): string => `layer.${layer}.${part}`;
    const blk = (part: string): string => `blk.${layer}.${part}.weight`;
    const attention = this.#norm(at("attention_norm"), blk("attn_norm"), residual, branch);
    this.#attention(layer, attention.x);
    this.#linear(
      at("attention_output"),
      at("attended"),
      this.#tensors.matrix(blk("attn_output"), embedding, heads * headDim),
    );
    const attended = this.#branch(at("attention_output"), blk("post_attention_norm"));
    const middle = this.#norm(at("feed_forward_norm"), blk("ffn_norm"), attention.residual, attended);
    this.#gated(layer, middle.x);
    this.#linear(at("feed_forward_output"), at("gated"), this.#tensors.matrix(blk("ffn_down"), embedding, feedForward));
    return [middle.residual, this.#branch(at("feed_forward_output"), blk("post_ffw_norm"))];
  }

  /** Projections, norms of heads, rotation and attention: `attended` of the layer. */
  #attention(layer: number, x: string): void {
    const { heads, kvHeads, headDim, ropeDim = headDim, embedding, attentionScale, window } = this.#config;
    const { headNorms, attentionBias } = this.#architecture;
    const at = (part: string): string => `layer.${layer}.${part}`;
    const sizes = [heads * headDim, kvHeads * headDim, kvHeads * headDim];
    const parts = ["q", "k", "v"].map((part) => `blk.${layer}.attn_${part}`);
    const order = rotaryOrder(headDim, ropeDim, this.#checkpoint.rotaryPairs);
    const turned = (matrix: Matrix): Matrix => (order ? withHeadOrder(matrix, order) : matrix);
    const [q, k, v] = parts.map((name, i) => this.#tensors.matrix(`${name}.weight`, sizes[i]!, embedding));
    const outputs = this.#projections(
      [turned(q!), turned(k!), v!],
      ["query", "key", "value"].map(at),
      x,
      at("qkv"),
      attentionBias ? parts.map((name) => `${name}.bias`) : undefined,
    );
    let [query, key = "", value = ""] = outputs as readonly [string, string?, string?];
    if (headNorms) {
      if (key === "") {
        [query, key, value] = [at("query"), at("key"), at("value")];
        const lengths = this.graph.constant("lengths.qkv", "int64", [3], BigInt64Array.from(sizes, BigInt));
        this.graph.node("Split", [at("qkv"), lengths], [query, key, value], { axis: -1 });
      }
      query = this.#headNorm(query, `blk.${layer}.attn_q_norm.weight`, heads);
      key = this.#headNorm(key, `blk.${layer}.attn_k_norm.weight`, kvHeads);
    }
    for (const part of ["k", "v"]) {
      this.graph.input(`past.${layer}.${part}`, "float32", ["batch", kvHeads, "positions", headDim]);
      this.graph.output(`present.${layer}.${part}`, "float32", ["batch", kvHeads, "positions", headDim]);
    }
    const sink = this.#dialect.noSink
      ? ["", "", this.graph.constant("no_sink", "float32", [heads], new Float32Array(heads).fill(NO_SINK))]
      : [];
    this.graph.contrib(
      "GroupQueryAttention",
      [
        query,
        key,
        value,
        `past.${layer}.k`,
        `past.${layer}.v`,
        "seqlens_k",
        "total_len",
        ...this.#rotaryTables(layer),
        ...sink,
      ],
      [at("attended"), `present.${layer}.k`, `present.${layer}.v`],
      {
        num_heads: heads,
        kv_num_heads: kvHeads,
        do_rotary: 1,
        ...(attentionScale !== undefined && { scale: { float: attentionScale } }),
        ...(window !== undefined && !isGlobalLayer(this.#config, layer) && { local_window_size: window.length }),
      },
    );
  }

  /** The gated activation: act(gate(x)) * up(x). */
  #gated(layer: number, x: string): void {
    const { embedding, feedForward } = this.#config;
    const { graph } = this;
    const at = (part: string): string => `layer.${layer}.${part}`;
    const matrices = ["gate", "up"].map((part) =>
      this.#tensors.matrix(`blk.${layer}.ffn_${part}.weight`, feedForward, embedding),
    );
    const outputs = this.#projections(matrices, [at("gate"), at("up")], x, at("gate_up"));
    if (outputs.length === 1) graph.node("Split", outputs, [at("gate"), at("up")], { axis: -1, num_outputs: 2 });
    if (this.#architecture.activation === "gelu") {
      graph.contrib("FastGelu", [at("gate")], [at("activated")]);
    } else if (this.#dialect.fuses) {
      graph.contrib("QuickGelu", [at("gate")], [at("activated")], { alpha: { float: 1 } });
    } else {
      graph.node("Sigmoid", [at("gate")], [at("sigmoid")]);
      graph.node("Mul", [at("gate"), at("sigmoid")], [at("activated")]);
    }
    graph.node("Mul", [at("activated"), at("up")], [at("gated")]);
  }

  /** Multiplies `x` by each matrix, or once by all of them where the target gains by it; returns the outputs' names: several, or one. */
  #projections(
    matrices: readonly Matrix[],
    outputs: readonly string[],
    x: string,
    stacked: string,
    biases?: readonly string[],
  ): readonly string[] {
    if (this.#dialect.fuses && canStack(matrices)) {
      this.#biased(stacked, x, stack(matrices), biases);
      return [stacked];
    }
    matrices.forEach((matrix, i) => this.#biased(outputs[i]!, x, matrix, biases && [biases[i]!]));
    return outputs;
  }

  #biased(output: string, x: string, matrix: Matrix, biases?: readonly string[]): void {
    if (biases === undefined) return this.#linear(output, x, matrix);
    this.#linear(`${output}.unbiased`, x, matrix);
    const bias = this.#tensors.vector(this.graph, `${output}.bias`, biases, matrix.rows);
    this.graph.node("Add", [`${output}.unbiased`, bias], [output]);
  }

  /** The norm of each head of `x` by itself. */
  #headNorm(x: string, tensorName: string, heads: number): string {
    const { headDim } = this.#config;
    const { graph } = this;
    const shape = (name: string, ...sizes: number[]): string =>
      graph.constant(name, "int64", [sizes.length], BigInt64Array.from(sizes, BigInt));
    graph.node("Reshape", [x, shape(`shape.heads.${heads}`, 0, 0, heads, headDim)], [`${x}.heads`]);
    const normed = this.#plainNorm(`${x}.normed`, tensorName, `${x}.heads`, headDim);
    graph.node("Reshape", [normed, shape(`shape.joined.${heads}`, 0, 0, heads * headDim)], [`${x}.joined`]);
    return `${x}.joined`;
  }

  /** What joins the residual stream of `output`: it, or its norm. */
  #branch(output: string, tensorName: string): string {
    const { branchNorms } = this.#architecture;
    return branchNorms ? this.#plainNorm(`${output}.normed`, tensorName, output, this.#config.embedding) : output;
  }

  /** Root-mean-square norm over the last axis. */
  #plainNorm(name: string, tensorName: string, x: string, size: number): string {
    const weight = this.#tensors.normWeight(this.graph, `${name}.weight`, tensorName, size);
    const epsilon = { float: this.#config.normEpsilon };
    this.graph.node("SimplifiedLayerNormalization", [x, weight], [name], { axis: -1, epsilon, stash_type: 1 });
    return name;
  }

  /** Root-mean-square norm of the residual stream after adding `branch` to it. */
  #norm(
    name: string,
    tensorName: string,
    residual: string,
    branch: string | undefined,
  ): { x: string; residual: string } {
    const { embedding, normEpsilon } = this.#config;
    if (branch === undefined) return { x: this.#plainNorm(name, tensorName, residual, embedding), residual };
    const weight = this.#tensors.normWeight(this.graph, `${name}.weight`, tensorName, embedding);
    this.graph.contrib(
      "SkipSimplifiedLayerNormalization",
      [residual, branch, weight],
      [name, "", "", `${name}.residual`],
      { epsilon: { float: normEpsilon } },
    );
    return { x: name, residual: `${name}.residual` };
  }

  /** Logits of the selected rows only: a prompt's other rows never meet the vocabulary. */
  #head(residual: string, branch: string): void {
    const { vocabulary, embedding } = this.#config;
    const { graph } = this;
    const { x } = this.#norm("output_norm", "output_norm.weight", residual, branch);
    const shape = graph.constant("shape.rows", "int64", [3], BigInt64Array.of(-1n, 1n, BigInt(embedding)));
    graph.node("Reshape", [x, shape], ["hidden"]);
    graph.node("Gather", ["hidden", "sel"], ["selected"], { axis: 0 });
    const head = this.#tensors.has("output.weight") ? "output.weight" : "token_embd.weight";
    this.#linear("logits", "selected", this.#tensors.matrix(head, vocabulary, embedding), "head");
    graph.output("logits", "float32", ["rows", 1, vocabulary]);
  }

  #linear(output: string, x: string, matrix: Matrix, name = `${output}.weight`): void {
    const form = formOf(this.#dialect.target, matrix, this.#tensors.elements);
    emitLinear(this.graph, { name, x, y: output, matrix, form, accuracyLevel: this.#dialect.accuracyLevel });
  }
}
