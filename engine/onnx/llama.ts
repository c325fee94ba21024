/**
 * The llama architecture as an ONNX graph with in-place KV slots, from a GGUF header. Pure: makes a graph and recipes, moves no bytes.
 *
 * Inputs: `input_ids` int64 [batch, sequence]; `seqlens_k` int32 [batch], each row's length minus one; `total_len` int32 [1], the longest
 * row's length (on the CPU for every provider); `sel` int64 [rows], the flattened positions whose logits are wanted; `past.<layer>.k|v`
 * f32 [batch, kvHeads, positions, headDim]. Outputs: in graphs for the native provider first COPY_STOP; `present.<layer>.k|v`, to be bound to the memory of the past; `logits` f32
 * [rows, 1, vocabulary]. GroupQueryAttention allows batch > 1 only with sequence = 1 once there is a past.
 */
import { readModelConfig } from "../gguf/config.ts";
import { dequantise } from "../gguf/dequantise.ts";
import { CheckpointError } from "../gguf/error.ts";
import type { GgufHeader, GgufTensor } from "../gguf/header.ts";
import type { ModelConfig } from "../types.ts";
import { emitEmbedding } from "./embedding.ts";
import { GraphBuilder, type WeightLayout } from "./graph.ts";
import { emitLinear } from "./linear.ts";
import { canStack, type Matrix, matrixOf, stack, withSplitRotaryPairs } from "./matrix.ts";
import { bytesOf } from "./pack.ts";
import { type Dialect, dialectOf, formOf, type Target } from "./target.ts";

/** Rows of the rotary tables at most: contexts beyond need 2 x 4 x headDim / 2 bytes a position, on every load. */
const MOST_POSITIONS = 32_768;

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
  /** Overrides the target's MatMulNBits accuracy level; 0 computes in f32. */
  readonly accuracyLevel?: number;
}

/** Emits the graph. Throws CheckpointError where a tensor is missing or has another shape than the metadata says. */
export function emitLlama(header: GgufHeader, { target, accuracyLevel }: EmitOptions): EmittedModel {
  const config = readModelConfig(header);
  const dialect = dialectOf(target, accuracyLevel);
  const emitter = new LlamaEmitter(header, config, dialect);
  emitter.emit();
  return { target, config, positions: emitter.positions, ...emitter.graph.finish() };
}

class LlamaEmitter {
  readonly graph = new GraphBuilder();
  readonly positions: number;
  readonly #header: GgufHeader;
  readonly #config: ModelConfig;
  readonly #dialect: Dialect;
  readonly #elements: number;

  constructor(header: GgufHeader, config: ModelConfig, dialect: Dialect) {
    this.#header = header;
    this.#config = config;
    this.#dialect = dialect;
    this.positions = Math.min(config.contextLength, MOST_POSITIONS);
    this.#elements = [...header.tensors.values()].reduce(
      (sum, { shape }) => sum + shape.reduce((product, size) => product * size, 1),
      0,
    );
  }

  emit(): void {
    const { layers, kvHeads, headDim, vocabulary, embedding } = this.#config;
    const { graph } = this;
    if (this.#dialect.stopsCopies) graph.copyStop();
    graph.input("input_ids", "int64", ["batch", "sequence"]);
    graph.input("seqlens_k", "int32", ["batch"]);
    graph.input("total_len", "int32", [1]);
    graph.input("sel", "int64", ["rows"]);
    for (let layer = 0; layer < layers; layer++) {
      for (const part of ["k", "v"]) {
        graph.input(`past.${layer}.${part}`, "float32", ["batch", kvHeads, "positions", headDim]);
        graph.output(`present.${layer}.${part}`, "float32", ["batch", kvHeads, "positions", headDim]);
      }
    }
    this.#rotaryTables();
    const table = this.#matrix("token_embd.weight", vocabulary, embedding);
    let residual = emitEmbedding(graph, table, "input_ids", this.#dialect);
    let branch: string | undefined;
    for (let layer = 0; layer < layers; layer++) {
      [residual, branch] = this.#layer(layer, residual, branch);
    }
    this.#head(residual, branch!);
  }

  /** cos and sin of position / theta^(2i / headDim), optionally stretched per frequency (Llama 3.1's `rope_freqs`). */
  #rotaryTables(): void {
    const { headDim, ropeTheta } = this.#config;
    const half = headDim / 2;
    const factors = this.#header.tensors.get("rope_freqs.weight");
    if (factors && (factors.format !== "F32" || factors.shape.length !== 1 || factors.shape[0] !== half)) {
      throw new CheckpointError(`tensor "rope_freqs.weight" isn't ${half} F32 values`);
    }
    for (const [name, wave] of [
      ["rotary.cos", Math.cos],
      ["rotary.sin", Math.sin],
    ] as const) {
      this.graph.weight(name, "float32", [this.positions, half], {
        inputs: factors ? [factors] : [],
        byteLength: this.positions * half * 4,
        make: ([bytes]) => {
          const stretch = bytes ? dequantise("F32", bytes) : undefined;
          const out = new Float32Array(this.positions * half);
          for (let position = 0; position < this.positions; position++) {
            for (let i = 0; i < half; i++) {
              out[position * half + i] = wave(position / Math.pow(ropeTheta, (2 * i) / headDim) / (stretch?.[i] ?? 1));
            }
          }
          return bytesOf(out);
        },
      });
    }
  }

  /** One block; takes the residual stream and what is still to be added to it, and returns both. */
  #layer(layer: number, residual: string, branch: string | undefined): [string, string] {
    const { heads, kvHeads, headDim, embedding } = this.#config;
    const at = (part: string): string => `layer.${layer}.${part}`;
    const blk = (part: string): string => `blk.${layer}.${part}.weight`;
    const attention = this.#norm(at("attention_norm"), blk("attn_norm"), residual, branch);
    const projections = [
      withSplitRotaryPairs(this.#matrix(blk("attn_q"), heads * headDim, embedding), heads),
      withSplitRotaryPairs(this.#matrix(blk("attn_k"), kvHeads * headDim, embedding), kvHeads),
      this.#matrix(blk("attn_v"), kvHeads * headDim, embedding),
    ];
    const [query, key = "", value = ""] = this.#projections(
      projections,
      ["query", "key", "value"].map(at),
      attention.x,
      at("qkv"),
    );
    const sink = this.#dialect.noSink
      ? ["", "", this.graph.constant("no_sink", "float32", [heads], new Float32Array(heads).fill(NO_SINK))]
      : [];
    this.graph.contrib(
      "GroupQueryAttention",
      [
        query!,
        key,
        value,
        `past.${layer}.k`,
        `past.${layer}.v`,
        "seqlens_k",
        "total_len",
        "rotary.cos",
        "rotary.sin",
        ...sink,
      ],
      [at("attended"), `present.${layer}.k`, `present.${layer}.v`],
      { num_heads: heads, kv_num_heads: kvHeads, do_rotary: 1 },
    );
    this.#linear(at("attention_output"), at("attended"), this.#matrix(blk("attn_output"), embedding, heads * headDim));
    const feedForward = this.#norm(
      at("feed_forward_norm"),
      blk("ffn_norm"),
      attention.residual,
      at("attention_output"),
    );
    this.#feedForward(layer, feedForward.x);
    return [feedForward.residual, at("feed_forward_output")];
  }

  /** SwiGLU: down(silu(gate(x)) * up(x)). */
  #feedForward(layer: number, x: string): void {
    const { embedding, feedForward } = this.#config;
    const { graph } = this;
    const at = (part: string): string => `layer.${layer}.${part}`;
    const blk = (part: string): string => `blk.${layer}.${part}.weight`;
    const matrices = [
      this.#matrix(blk("ffn_gate"), feedForward, embedding),
      this.#matrix(blk("ffn_up"), feedForward, embedding),
    ];
    const outputs = this.#projections(matrices, [at("gate"), at("up")], x, at("gate_up"));
    if (outputs.length === 1) graph.node("Split", outputs, [at("gate"), at("up")], { axis: -1, num_outputs: 2 });
    if (this.#dialect.fuses) {
      graph.contrib("QuickGelu", [at("gate")], [at("activated")], { alpha: { float: 1 } });
    } else {
      graph.node("Sigmoid", [at("gate")], [at("sigmoid")]);
      graph.node("Mul", [at("gate"), at("sigmoid")], [at("activated")]);
    }
    graph.node("Mul", [at("activated"), at("up")], [at("gated")]);
    this.#linear(at("feed_forward_output"), at("gated"), this.#matrix(blk("ffn_down"), embedding, feedForward));
  }

  /** Multiplies `x` by each matrix, or once by all of them where the target gains by it; returns the outputs' names: several, or one. */
  #projections(matrices: readonly Matrix[], outputs: readonly string[], x: string, stacked: string): readonly string[] {
    if (this.#dialect.fuses && canStack(matrices)) {
      this.#linear(stacked, x, stack(matrices));
      return [stacked];
    }
    matrices.forEach((matrix, i) => this.#linear(outputs[i]!, x, matrix));
    return outputs;
  }

  /** Root-mean-square norm of the residual stream after adding `branch` to it. */
  #norm(
    name: string,
    tensorName: string,
    residual: string,
    branch: string | undefined,
  ): { x: string; residual: string } {
    const { embedding, normEpsilon } = this.#config;
    const tensor = this.#tensor(tensorName);
    if (tensor.shape.length !== 1 || tensor.shape[0] !== embedding) {
      throw new CheckpointError(
        `tensor ${JSON.stringify(tensorName)} has the shape [${tensor.shape.join(", ")}], but the metadata asks for [${embedding}]`,
      );
    }
    const weight = this.graph.weight(`${name}.weight`, "float32", [embedding], {
      inputs: [tensor],
      byteLength: embedding * 4,
      make: ([bytes]) => bytesOf(dequantise(tensor.format, bytes!)),
    });
    const epsilon = { float: normEpsilon };
    if (branch === undefined) {
      this.graph.node("SimplifiedLayerNormalization", [residual, weight], [name], { axis: -1, epsilon, stash_type: 1 });
      return { x: name, residual };
    }
    this.graph.contrib(
      "SkipSimplifiedLayerNormalization",
      [residual, branch, weight],
      [name, "", "", `${name}.residual`],
      { epsilon },
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
    const tied = !this.#header.tensors.has("output.weight");
    this.#linear(
      "logits",
      "selected",
      this.#matrix(tied ? "token_embd.weight" : "output.weight", vocabulary, embedding),
      "head",
    );
    graph.output("logits", "float32", ["rows", 1, vocabulary]);
  }

  #linear(output: string, x: string, matrix: Matrix, name = `${output}.weight`): void {
    const form = formOf(this.#dialect.target, matrix, this.#elements);
    emitLinear(this.graph, { name, x, y: output, matrix, form, accuracyLevel: this.#dialect.accuracyLevel });
  }

  #matrix(name: string, rows: number, columns: number): Matrix {
    return matrixOf(this.#tensor(name), rows, columns);
  }

  #tensor(name: string): GgufTensor {
    const tensor = this.#header.tensors.get(name);
    if (tensor === undefined)
      throw new CheckpointError(
        `the checkpoint has no tensor ${JSON.stringify(name)}: it is incomplete, or not a llama model`,
      );
    return tensor;
  }
}
