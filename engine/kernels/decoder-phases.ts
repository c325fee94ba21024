/**
 * A step of a decoder as phases, each of parts that don't depend on each other: whoever computes which part, in whatever order, the results
 * are the same to the last bit, and so they are whichever rows share the step. Knows the memory and the kernels, not the threads.
 */
import { dequantise } from "../gguf/dequantise.ts";
import { BLOCK } from "../onnx/pack.ts";
import { isGlobalLayer, type ModelConfig } from "../types.ts";
import type { DecoderMemory } from "./decoder-memory.ts";
import type { StoredDecoder, StoredLayer } from "./decoder-weights.ts";
import { ARCHITECTURES } from "../architectures.ts";
import { BLOCK_BYTES, quantBytes, readRow, type StoredMatrix } from "./forms.ts";
import type { Kernels } from "./instance.ts";
import { StepWords } from "./step-words.ts";

const FLOAT = 4;

/** Parts of a product for each thread, so that none waits long for another; rows of weights of a part at most, and at least. */
const PARTS_PER_THREAD = 4;
const PART_ROWS_MAX = 512;
const PART_ROWS_MIN = 8;
/** With many rows of inputs: what these and the weights take stays in a core's cache. */
const PART_ROWS_WIDE = 32;
/** Inputs from which on a step is wide. */
const WIDE_ROWS = 8;
/** Pieces of a row of the gated activation, where there are few rows. */
const GATE_PIECES = 8;

export interface Phase {
  /** How many parts the step has here; zero passes over it. */
  parts(): number;
  /** `thread` has a scratch of its own. */
  run(part: number, thread: number): void;
}

export interface PhaseContext {
  readonly config: ModelConfig;
  readonly decoder: StoredDecoder;
  readonly memory: DecoderMemory;
  /** Positions in a slot. */
  readonly slotLength: number;
  readonly threads: number;
  readonly kernels: Kernels;
  readonly buffer: ArrayBufferLike;
}

/** How many there are: ten for each layer, two for the logits. */
export const phaseCount = ({ layers }: ModelConfig): number => 10 * layers + 2;

/** The phases of every step, in order. */
export function decoderPhases(context: PhaseContext): Phase[] {
  const { decoder, config } = context;
  const phases = new PhaseBuilder(context);
  decoder.layers.forEach((layer, index) => phases.layer(layer, index));
  phases.head();
  const { list } = phases;
  if (list.length !== phaseCount(config))
    throw new Error(`${list.length} phases where ${phaseCount(config)} have room`);
  return list;
}

/** A product with the rows of `x`. */
interface Product {
  readonly matrix: StoredMatrix;
  readonly y: number;
}

class PhaseBuilder {
  readonly list: Phase[] = [];
  readonly #context: PhaseContext;
  readonly #step: StepWords;
  readonly #floats: Float32Array;
  readonly #rotations: readonly number[];

  constructor(context: PhaseContext) {
    const { memory, buffer, decoder } = context;
    this.#context = context;
    this.#step = new StepWords(buffer, memory.step, memory.rows);
    this.#floats = new Float32Array(buffer);
    this.#rotations = [...new Set(decoder.layers.map(({ rotation }) => rotation.paces))];
  }

  layer(layer: StoredLayer, index: number): void {
    const { config, decoder, memory } = this.#context;
    const { feedForward, heads, headDim } = config;
    const before = decoder.layers[index - 1];
    const { query, key, value, output, gate, up, down } = layer;
    this.#rows((row) => {
      if (before === undefined) this.#embed(row);
      else this.#join(row, before.feedForwardPostNorm);
      this.#normed(row, row, layer.attentionNorm, [query, key, value]);
    });
    this.#products(memory.x, [
      { matrix: query, y: memory.query },
      { matrix: key, y: memory.key },
      { matrix: value, y: memory.value },
    ]);
    this.#rows((row) => this.#keep(row, layer, index));
    this.#attention(index);
    this.#rows((row) => this.#quantised(memory.x, row, [output], heads * headDim));
    this.#products(memory.x, [{ matrix: output, y: memory.branch }]);
    this.#rows((row) => {
      this.#join(row, layer.attentionPostNorm);
      this.#normed(row, row, layer.feedForwardNorm, [gate, up]);
    });
    this.#products(memory.x, [
      { matrix: gate, y: memory.gate },
      { matrix: up, y: memory.up },
    ]);
    this.#gated(feedForward, down);
    this.#products(memory.gate, [{ matrix: down, y: memory.branch }]);
  }

  /** Logits of the selected rows only: a prompt's other rows never meet the vocabulary. */
  head(): void {
    const { decoder, memory, config } = this.#context;
    const step = this.#step;
    this.list.push({
      parts: () => step.selected,
      run: (part) => {
        const row = step.selection[part]!;
        this.#join(row, decoder.layers.at(-1)!.feedForwardPostNorm);
        this.#normed(row, part, decoder.outputNorm, [decoder.head]);
      },
    });
    this.#products(
      memory.x,
      [{ matrix: decoder.head, y: memory.logits }],
      () => step.selected,
      () => step.firstLogits * config.vocabulary * FLOAT,
    );
  }

  #rows(run: (row: number) => void): void {
    this.list.push({ parts: () => this.#step.rows, run });
  }

  /** The token's row of the table becomes the stream. */
  #embed(row: number): void {
    const { config, decoder, memory, buffer } = this.#context;
    const { embedding, embeddingScale = 1 } = config;
    const token = this.#step.tokens[row]!;
    const at = memory.residual + row * embedding * FLOAT;
    const out = new Float32Array(buffer, at, embedding);
    if ("form" in decoder.embedding) {
      readRow(buffer, memory.weights, decoder.embedding, token, out);
    } else {
      const { format, rowBytes } = decoder.embedding;
      const bytes = new Uint8Array(buffer, memory.weights + decoder.embedding.at + token * rowBytes, rowBytes);
      out.set(dequantise(format, bytes));
    }
    if (embeddingScale !== 1) for (let i = 0; i < embedding; i++) out[i] = out[i]! * embeddingScale;
  }

  /** The branch, or its norm, is added to the stream. */
  #join(row: number, postNorm: number | undefined): void {
    const { config, memory, kernels } = this.#context;
    const width = config.embedding * FLOAT;
    const branch = memory.branch + row * width;
    if (postNorm !== undefined) kernels.norm(branch, memory.weights + postNorm, width, config.normEpsilon, branch);
    kernels.add(memory.residual + row * width, branch, width);
  }

  /** The norm of the stream's `row` becomes row `to` of the inputs. */
  #normed(row: number, to: number, norm: number, matrices: readonly StoredMatrix[]): void {
    const { config, memory, kernels } = this.#context;
    const width = config.embedding * FLOAT;
    const x = memory.x + to * width;
    kernels.norm(memory.residual + row * width, memory.weights + norm, width, config.normEpsilon, x);
    this.#quantised(memory.x, to, matrices, config.embedding);
  }

  /** Row `row` of the f32 inputs at `x`, `columns` wide, as the matrices want it. */
  #quantised(x: number, row: number, matrices: readonly StoredMatrix[], columns: number): void {
    if (matrices.some(({ form }) => form !== "f32")) this.#quantise(x, row, columns, 0, columns / BLOCK);
  }

  /** `count` blocks of a row from block `first` on. */
  #quantise(x: number, row: number, columns: number, first: number, count: number): void {
    const { memory, kernels } = this.#context;
    const blocks = columns / BLOCK;
    const tile = row >> 2;
    const lane = row & 3;
    kernels.quantise(
      x + (row * columns + first * BLOCK) * FLOAT,
      count,
      memory.quants + (tile * blocks + first) * 256 + lane * 64,
      memory.factors + (tile * blocks + first) * 32 + lane * 4,
    );
  }

  #products(
    x: number,
    products: readonly Product[],
    rows: () => number = () => this.#step.rows,
    shift: () => number = () => 0,
  ): void {
    const { threads } = this.#context;
    const all = products.reduce((sum, { matrix }) => sum + matrix.rows, 0);
    const narrow = Math.min(PART_ROWS_MAX, Math.max(PART_ROWS_MIN, Math.ceil(all / (PARTS_PER_THREAD * threads))));
    const size = (): number => (rows() > WIDE_ROWS ? Math.min(PART_ROWS_WIDE, narrow) : narrow);
    this.list.push({
      parts: () => {
        if (rows() === 0) return 0;
        const each = size();
        return products.reduce((sum, { matrix }) => sum + Math.ceil(matrix.rows / each), 0);
      },
      run: (part) => {
        const each = size();
        let left = part;
        for (const { matrix, y } of products) {
          const own = Math.ceil(matrix.rows / each);
          if (left < own) {
            const first = left * each;
            this.#product(x, matrix, y + shift(), first, Math.min(each, matrix.rows - first), rows());
            return;
          }
          left -= own;
        }
      },
    });
  }

  /** `count` rows of weights from `first` on. */
  #product(x: number, matrix: StoredMatrix, y: number, first: number, count: number, rows: number): void {
    const { memory, kernels } = this.#context;
    const { form, columns } = matrix;
    const at = memory.weights + matrix.at;
    const stride = matrix.rows * FLOAT;
    const out = y + first * FLOAT;
    if (form === "f32") {
      kernels.f32(at + first * columns * FLOAT, count, columns * FLOAT, x, out, stride, rows);
      return;
    }
    const blocks = columns / BLOCK;
    const { quants, factors } = BLOCK_BYTES[form];
    kernels[form](
      at + first * blocks * quants,
      at + quantBytes(matrix) + first * blocks * factors,
      count,
      blocks,
      memory.quants,
      memory.factors,
      out,
      stride,
      rows,
    );
  }

  /** Biases, norms of heads and rotation; then keys and values go into the slot. */
  #keep(row: number, layer: StoredLayer, index: number): void {
    const { config, memory, kernels, slotLength } = this.#context;
    const { heads, kvHeads, headDim, normEpsilon } = config;
    const width = headDim * FLOAT;
    const query = memory.query + row * heads * width;
    const key = memory.key + row * kvHeads * width;
    const value = memory.value + row * kvHeads * width;
    const biased = (at: number, bias: number | undefined, count: number): void => {
      if (bias !== undefined) kernels.add(at, memory.weights + bias, count * width);
    };
    biased(query, layer.queryBias, heads);
    biased(key, layer.keyBias, kvHeads);
    biased(value, layer.valueBias, kvHeads);
    const position = this.#step.positions[row]!;
    const table = memory.rotary[this.#rotations.indexOf(layer.rotation.paces)]!;
    const place = position * (width / 2);
    const turned = (at: number, norm: number | undefined): void => {
      if (norm !== undefined) kernels.norm(at, memory.weights + norm, width, normEpsilon, at);
      kernels.rotate(at, width / 2, table.cos + place, table.sin + place);
    };
    for (let head = 0; head < heads; head++) turned(query + head * width, layer.queryNorm);
    const slot = this.#step.slots[row]! * kvHeads;
    for (let head = 0; head < kvHeads; head++) {
      turned(key + head * width, layer.keyNorm);
      const to = ((slot + head) * slotLength + position) * headDim;
      this.#copy(key + head * width, memory.kv[2 * index]! / FLOAT + to, headDim);
      this.#copy(value + head * width, memory.kv[2 * index + 1]! / FLOAT + to, headDim);
    }
  }

  #copy(from: number, to: number, count: number): void {
    this.#floats.copyWithin(to, from / FLOAT, from / FLOAT + count);
  }

  #attention(index: number): void {
    const { config, memory, kernels, slotLength } = this.#context;
    const { heads, kvHeads, headDim, window } = config;
    const scale = config.attentionScale ?? 1 / Math.sqrt(headDim);
    const width = headDim * FLOAT;
    const seen = isGlobalLayer(config, index) ? Infinity : window!.length;
    const attend = (query: number, thread: number): void => {
      const row = Math.floor(query / heads);
      const position = this.#step.positions[row]!;
      const first = Math.max(0, position + 1 - seen);
      const kvHead = this.#step.slots[row]! * kvHeads + Math.floor(((query % heads) * kvHeads) / heads);
      const at = (kvHead * slotLength + first) * width;
      kernels.attend(
        memory.query + query * width,
        memory.kv[2 * index]! + at,
        memory.kv[2 * index + 1]! + at,
        position + 1 - first,
        width,
        scale,
        memory.scores[thread]!,
        memory.x + query * width,
      );
    };
    // Heads that share keys and values one after the other, which then are near; of few rows each by itself, so that all threads have some.
    const shared = (): number => (this.#step.rows < WIDE_ROWS ? 1 : heads / kvHeads);
    this.list.push({
      parts: () => (this.#step.rows * heads) / shared(),
      run: (part, thread) => {
        const count = shared();
        for (let query = part * count; query < (part + 1) * count; query++) attend(query, thread);
      },
    });
  }

  /** The gated activation, quantised for `down`; few rows are cut into pieces. */
  #gated(columns: number, down: StoredMatrix): void {
    const { config, memory, kernels } = this.#context;
    const activate = ARCHITECTURES[config.architecture].activation === "gelu" ? kernels.gelu : kernels.silu;
    const blocks = columns / BLOCK;
    const pieces = (): number => (Number.isInteger(blocks) && this.#step.rows < WIDE_ROWS ? GATE_PIECES : 1);
    this.list.push({
      parts: () => this.#step.rows * pieces(),
      run: (part) => {
        const cut = pieces();
        const row = Math.floor(part / cut);
        const piece = part % cut;
        const first = Math.floor((piece * blocks) / cut);
        // Rows that blocks don't divide are never cut.
        const count = cut === 1 ? blocks : Math.floor(((piece + 1) * blocks) / cut) - first;
        if (count === 0) return;
        const at = (row * columns + first * BLOCK) * FLOAT;
        activate(memory.gate + at, memory.up + at, count * BLOCK * FLOAT);
        if (down.form !== "f32") this.#quantise(memory.gate, row, columns, first, count);
      },
    });
  }
}
