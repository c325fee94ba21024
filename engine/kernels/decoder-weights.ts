/**
 * A decoder's weights for the kernels, from a checkpoint and its architecture's row in the table: where each will lie and how it is made.
 * Pure: moves no bytes.
 */
import { type Architecture, ARCHITECTURES } from "../architectures.ts";
import type { Checkpoint } from "../checkpoint.ts";
import { CheckpointError } from "../gguf/error.ts";
import { byteLengthOf, type TensorFormat } from "../gguf/format.ts";
import type { Recipe, WeightLayout, WeightPart } from "../onnx/graph.ts";
import { type Matrix, rotaryOrder, withHeadOrder } from "../onnx/matrix.ts";
import { bytesOf } from "../onnx/pack.ts";
import { Rotary } from "../onnx/rotary.ts";
import { TensorShelf } from "../onnx/tensors.ts";
import { isExactAs, kernelFormOf, packed, type StoredMatrix } from "./forms.ts";

/** Of each part's offset in the weights, in bytes: a cache line. */
const ALIGNMENT = 64;
/** Of a head and of the stream's width, in values: half a head is whole vectors. */
const HEAD_MULTIPLE = 8;
const WIDTH_MULTIPLE = 4;

/** Where the angles of a layer's rotary pairs come from. */
export interface StoredRotation {
  /** f64 `[ropeDim / 2]`: the angle of pair i is the position divided by the i-th. */
  readonly paces: number;
  /** What cos and sin are multiplied by. */
  readonly scale: number;
}

/** Numbers are bytes of the weights where f32 vectors begin. Rotary pairs are half a head apart. */
export interface StoredLayer {
  readonly attentionNorm: number;
  readonly query: StoredMatrix;
  readonly key: StoredMatrix;
  readonly value: StoredMatrix;
  readonly queryBias?: number;
  readonly keyBias?: number;
  readonly valueBias?: number;
  readonly queryNorm?: number;
  readonly keyNorm?: number;
  readonly output: StoredMatrix;
  readonly attentionPostNorm?: number;
  readonly feedForwardNorm: number;
  readonly gate: StoredMatrix;
  readonly up: StoredMatrix;
  readonly down: StoredMatrix;
  readonly feedForwardPostNorm?: number;
  readonly rotation: StoredRotation;
}

/** JSON-safe: it stands in for the graph of a prepared model. */
export interface StoredDecoder {
  /** Of all weights. */
  readonly byteLength: number;
  /** Rows of embeddings: a matrix that keeps them exactly, or the checkpoint's own bytes. */
  readonly embedding: StoredMatrix | { readonly format: TensorFormat; readonly at: number; readonly rowBytes: number };
  readonly layers: readonly StoredLayer[];
  readonly outputNorm: number;
  readonly head: StoredMatrix;
}

export interface PlannedDecoder {
  readonly decoder: StoredDecoder;
  readonly positions: number;
  readonly layout: WeightLayout;
}

/**
 * Plans the weights. `isExact` keeps every value in f32; `slotLength` as in `EmitOptions`. Throws CheckpointError where a tensor is missing,
 * has another shape than the metadata says, or would be left out, and for sizes that the kernels can't take.
 */
export function planDecoder(
  checkpoint: Checkpoint,
  { isExact, slotLength }: { readonly isExact: boolean; readonly slotLength?: number | undefined },
): PlannedDecoder {
  return new DecoderPlanner(checkpoint, isExact, slotLength).plan();
}

class DecoderPlanner {
  readonly #checkpoint: Checkpoint;
  readonly #architecture: Architecture;
  readonly #tensors: TensorShelf;
  readonly #rotary: Rotary;
  readonly #isExact: boolean;
  readonly #parts: WeightPart[] = [];
  readonly #rotations = new Map<string, StoredRotation>();
  #end = 0;

  constructor(checkpoint: Checkpoint, isExact: boolean, slotLength: number | undefined) {
    const { config, tensors, normOffset } = checkpoint;
    this.#checkpoint = checkpoint;
    this.#architecture = ARCHITECTURES[config.architecture];
    this.#tensors = new TensorShelf(tensors, config.architecture, normOffset);
    this.#rotary = new Rotary(config, this.#tensors, slotLength);
    this.#isExact = isExact;
  }

  plan(): PlannedDecoder {
    const { config } = this.#checkpoint;
    const { vocabulary, embedding } = config;
    const table = this.#tensors.matrix("token_embd.weight", vocabulary, embedding);
    const layers = Array.from({ length: config.layers }, (_, layer) => this.#layer(layer));
    const outputNorm = this.#norm("output_norm.weight", embedding);
    const isTied = !this.#tensors.has("output.weight");
    const last = isTied ? table : this.#tensors.matrix("output.weight", vocabulary, embedding);
    const head = this.#matrix(last);
    const rows = isTied && isExactAs(head.form, table) ? head : this.#asItIs(table);
    this.#tensors.assertAllUsed();
    if (config.headDim % HEAD_MULTIPLE !== 0 || embedding % WIDTH_MULTIPLE !== 0) {
      throw new CheckpointError(
        `wasm runs heads of a multiple of ${HEAD_MULTIPLE} values in a stream of a multiple of ${WIDTH_MULTIPLE}, not ${config.headDim} in ${embedding}`,
      );
    }
    const byteLength = this.#end;
    return {
      decoder: { byteLength, embedding: rows, layers, outputNorm, head },
      positions: this.#rotary.positions,
      layout: { byteLength, parts: this.#parts },
    };
  }

  #layer(layer: number): StoredLayer {
    const { embedding, heads, kvHeads, headDim, ropeDim = headDim, feedForward } = this.#checkpoint.config;
    const { headNorms, attentionBias, branchNorms } = this.#architecture;
    const blk = (part: string): string => `blk.${layer}.${part}`;
    const matrix = (part: string, rows: number, columns: number): Matrix =>
      this.#tensors.matrix(blk(`${part}.weight`), rows, columns);
    const order = rotaryOrder(headDim, ropeDim, this.#checkpoint.rotaryPairs);
    const turned = (from: Matrix): Matrix => (order ? withHeadOrder(from, order) : from);
    const wide = heads * headDim;
    const kvWide = kvHeads * headDim;
    return {
      attentionNorm: this.#norm(blk("attn_norm.weight"), embedding),
      query: this.#matrix(turned(matrix("attn_q", wide, embedding))),
      key: this.#matrix(turned(matrix("attn_k", kvWide, embedding))),
      value: this.#matrix(matrix("attn_v", kvWide, embedding)),
      ...(attentionBias && {
        queryBias: this.#vector(blk("attn_q.bias"), wide),
        keyBias: this.#vector(blk("attn_k.bias"), kvWide),
        valueBias: this.#vector(blk("attn_v.bias"), kvWide),
      }),
      ...(headNorms && {
        queryNorm: this.#norm(blk("attn_q_norm.weight"), headDim),
        keyNorm: this.#norm(blk("attn_k_norm.weight"), headDim),
      }),
      output: this.#matrix(matrix("attn_output", embedding, wide)),
      ...(branchNorms && { attentionPostNorm: this.#norm(blk("post_attention_norm.weight"), embedding) }),
      feedForwardNorm: this.#norm(blk("ffn_norm.weight"), embedding),
      gate: this.#matrix(matrix("ffn_gate", feedForward, embedding)),
      up: this.#matrix(matrix("ffn_up", feedForward, embedding)),
      down: this.#matrix(matrix("ffn_down", embedding, feedForward)),
      ...(branchNorms && { feedForwardPostNorm: this.#norm(blk("post_ffw_norm.weight"), embedding) }),
      rotation: this.#rotation(layer),
    };
  }

  #rotation(layer: number): StoredRotation {
    const { name, scale, inputs, paces } = this.#rotary.of(layer);
    let rotation = this.#rotations.get(name);
    if (rotation === undefined) {
      const { headDim, ropeDim = headDim } = this.#checkpoint.config;
      const byteLength = (ropeDim / 2) * Float64Array.BYTES_PER_ELEMENT;
      rotation = { scale, paces: this.#part({ inputs, byteLength, make: (bytes) => bytesOf(paces(bytes)) }) };
      this.#rotations.set(name, rotation);
    }
    return rotation;
  }

  #matrix(matrix: Matrix): StoredMatrix {
    const { rows, columns } = matrix;
    const form = kernelFormOf(matrix, this.#tensors.elements, this.#isExact);
    return { form, rows, columns, at: this.#part(packed(form, matrix)) };
  }

  /** Not converted: rows are decoded when they are asked for. */
  #asItIs({ format, columns, tensors }: Matrix): StoredDecoder["embedding"] {
    const { byteLength } = tensors[0]!;
    const at = this.#part({ inputs: tensors, byteLength, make: ([bytes]) => bytes! });
    return { format, at, rowBytes: byteLengthOf(format, columns) };
  }

  #norm(name: string, size: number): number {
    return this.#tensors.normWeight(this.#vectors, name, name, size);
  }

  #vector(name: string, size: number): number {
    return this.#tensors.vector(this.#vectors, name, [name], size);
  }

  readonly #vectors = {
    weight: (_name: string, _type: unknown, _shape: unknown, recipe: Recipe): number => this.#part(recipe),
  };

  #part(recipe: Recipe): number {
    const offset = Math.ceil(this.#end / ALIGNMENT) * ALIGNMENT;
    this.#end = offset + recipe.byteLength;
    this.#parts.push({ ...recipe, offset });
    return offset;
  }
}
